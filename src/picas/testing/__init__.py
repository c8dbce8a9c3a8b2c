"""What tests are made of: the contract that every store fulfils, and fakes. Needs pytest and hypothesis."""
