// Where express-pouchdb is unlike CouchDB in ways that a program must notice, it is made like CouchDB here.
//
// Its parts are functions that add routes to an application, in a fixed order. Each repair stands before one of them.
"use strict";

const lib = "express-pouchdb/lib";
const utils = require(`${lib}/utils`);

const CHANGES_TIMEOUT = 60000;
const UNAUTHORIZED = { error: "unauthorized", reason: "You are not a server admin." };
const NOT_A_MEMBER = '"error":"unauthorized","reason":"You are not authorized to access this db."';
const FORBIDDEN = '"error":"forbidden","reason":"You are not allowed to access this db."';
const NO_DATABASE = { error: "not_found", reason: "Database does not exist." };
const CONFLICT = { error: "conflict", reason: "Document update conflict." };

function before(part, repair) {
  const path = require.resolve(`${lib}/${part}`);
  const original = require(path);
  require.cache[path].exports = (app) => {
    repair(app);
    original(app);
  };
}

module.exports = () => {
  before("routes/vhosts", guardDatabases);
  before("routes/vhosts", sayForbidden);
  before("routes/db", wrapDatabases);
  before("routes/changes", answerLongPolls);
  before("routes/documents", listLocalDocuments);
  before("routes/documents", refuseBlindDeletes);
};

// A request to make a database by somebody who may not is never answered, and after one to delete a database nobody's
// requests are; deleting one that is not there succeeds.
function guardDatabases(app) {
  const isServers = (request) => request.params.db.startsWith("_");
  const isAdmin = (request) => request.couchSession.userCtx.roles.includes("_admin");
  for (const method of ["put", "delete"]) {
    app[method]("/:db", (request, response, next) => {
      if (isServers(request) || isAdmin(request)) return next();
      utils.sendJSON(response, 401, UNAUTHORIZED);
    });
  }
  app.delete("/:db", async (request, response, next) => {
    const names = await request.PouchDB.allDbs();
    if (isServers(request) || names.includes(request.params.db)) return next();
    utils.sendJSON(response, 404, NO_DATABASE);
  });
}

// To somebody who may not, CouchDB says 403 where it says 401 to nobody.
function sayForbidden(app) {
  app.use((request, response, next) => {
    const send = response.send;
    if (request.couchSession.userCtx.name) {
      response.send = (body) => {
        const text = String(body);
        if (!text.includes(NOT_A_MEMBER)) return send.call(response, body);
        if (response.statusCode === 401) response.status(403);
        return send.call(response, Buffer.from(text.replaceAll(NOT_A_MEMBER, FORBIDDEN)));
      };
    }
    next();
  });
}

function wrapDatabases(app) {
  app.dbWrapper.registerWrapper((name, db, next) => {
    rememberLocalDocuments(db);
    heedStartKeyDocid(db);
    return next();
  });
}

function rememberLocalDocuments(db) {
  const put = db._putLocal;
  db.localIds = new Set();
  db._putLocal = function (doc, ...rest) {
    db.localIds.add(doc._id);
    return put.call(this, doc, ...rest);
  };
}

// A view's page that begins at a key and a document's id: PouchDB ignores the id.
function heedStartKeyDocid(db) {
  const query = db.query;
  db.query = async function (view, options, ...rest) {
    const docid = options.startkey_docid ?? options.start_key_doc_id;
    const key = options.startkey ?? options.start_key;
    if (docid === undefined || key === undefined) return query.call(this, view, options, ...rest);
    const { skip = 0, limit = Infinity, ...whole } = options;
    const answer = await query.call(this, view, whole);
    const first = JSON.stringify(key);
    const isBefore = (id) => (options.descending ? id > docid : id < docid);
    const rows = answer.rows.filter((row) => JSON.stringify(row.key) !== first || !isBefore(row.id));
    return { ...answer, rows: rows.slice(skip, skip + limit) };
  };
}

// express-pouchdb never ends a long poll without a change, and loses changes that come while it begins one.
function answerLongPolls(app) {
  const poll = (request, response, next) => {
    if (request.query.feed !== "longpoll") return next();
    longPoll(request, response).catch((error) => utils.sendError(response, error));
  };
  app.get("/:db/_changes", poll);
  app.post("/:db/_changes", utils.jsonParser, poll);
}

async function longPoll(request, response) {
  const { feed: _, timeout = CHANGES_TIMEOUT, heartbeat, ...query } = request.query;
  const doc_ids = request.body?.doc_ids ?? query.doc_ids;
  const options = utils.makeOpts(request, { ...query, ...(doc_ids && { doc_ids }), query_params: { ...query } });
  const past = await request.db.changes(options);
  utils.setJsonOrPlaintext(response);
  if (past.results.length > 0) return response.end(`${JSON.stringify(past)}\n`);
  response.write('{"results":[\n');
  const live = request.db.changes({ ...options, since: past.last_seq, live: true });
  const beat = heartbeat === true ? CHANGES_TIMEOUT : heartbeat;
  const timer = beat
    ? setInterval(() => response.write("\n"), beat)
    : setTimeout(() => end("", past.last_seq), Math.min(timeout, CHANGES_TIMEOUT));
  let isOpen = true;
  const end = (row, seq) => {
    if (!isOpen) return;
    isOpen = false;
    clearInterval(timer);
    live.cancel();
    response.end(`${row}],\n"last_seq":${JSON.stringify(seq)},"pending":0}\n`);
  };
  live.on("change", (change) => end(`${JSON.stringify(change)}\n`, change.seq));
  live.on("complete", () => end("", past.last_seq));
  live.on("error", () => end("", past.last_seq));
  response.on("close", () => end("", past.last_seq));
}

function listLocalDocuments(app) {
  const list = async (request, response) => {
    const { include_docs, startkey = "", endkey = "\uffff" } = request.query;
    const keys = request.body?.keys ?? [...request.db.localIds].sort();
    const isOwn = (id) => !id.startsWith("_local/_") && id !== "_local/mrviews";
    const chosen = keys.filter((id) => isOwn(id) && id >= startkey && id <= endkey);
    const options = utils.makeOpts(request, {});
    const docs = await Promise.all(chosen.map((id) => request.db.get(id, options).catch(() => null)));
    const row = (doc) => ({ id: doc._id, key: doc._id, value: { rev: doc._rev }, ...(include_docs && { doc }) });
    utils.sendJSON(response, 200, { total_rows: null, offset: null, rows: docs.filter(Boolean).map(row) });
  };
  app.get("/:db/_local_docs", list);
  app.post("/:db/_local_docs", utils.jsonParser, list);
}

// Without a revision, express-pouchdb deletes whatever is there.
function refuseBlindDeletes(app) {
  app.delete("/:db/:id(*)", (request, response, next) => {
    if (request.query.rev || request.params.id.startsWith("_local/")) return next();
    request.db.get(request.params.id, utils.makeOpts(request, {})).then(
      () => utils.sendJSON(response, 409, CONFLICT),
      (error) => utils.sendError(response, error),
    );
  });
}
