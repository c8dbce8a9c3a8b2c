// A server that speaks CouchDB's protocol, in memory, for tests: express-pouchdb over PouchDB.
//
//   node couchdb.js CONFIG
//
// CONFIG is a JSON file in CouchDB's shape, {"admins": {"name": "password"}}: passwords never are arguments.
// It listens on a free port of the loopback, says which on its first line, and ends when its standard input closes,
// so that it never outlives the tests that started it, however they end.
"use strict";

require("node:events").defaultMaxListeners = 0;
require("./repairs")();

const express = require("express");
const expressPouchDB = require("express-pouchdb");
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-mapreduce"))
  .plugin(require("pouchdb-replication"))
  .defaults({ adapter: "memory" });

const app = express();
app.use(expressPouchDB(PouchDB, {
  configPath: process.argv[2],
  overrideMode: { exclude: ["routes/fauxton", "disk-size"] },
}));

const server = app.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
server.keepAliveTimeout = 0;

// One request's failure must not end the server under the others; whoever asked sees no answer, and the log says why.
process.on("unhandledRejection", (reason) => console.error("unhandled rejection:", reason));
process.stdin.resume().on("close", () => process.exit(0));
