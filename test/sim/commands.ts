/** The commands that a simulated server knows. One that it does not know ends the simulation: nothing is guessed. */
import { Long, ObjectId } from 'mongodb';
import { made } from './catalog.js';
import {
  create,
  drop,
  dropDatabase,
  dropIndexes,
  listCollections,
  listDatabases,
  listIndexes,
  renameCollection,
} from './catalog-commands.js';
import { openStream } from './change-stream.js';
import { collMod } from './coll-mod.js';
import { Codes, serverError } from './errors.js';
import { toRaw } from './raw.js';
import { aggregateCollection, count, dataSize, find, getMore } from './read-commands.js';
import { type Answer, type Doc, numberOf, type Request, wholeReply } from './request.js';
import type { FakeServer } from './server.js';
import { SessionNumbers } from './session-numbers.js';
import { SimulationError } from './world.js';
import { write } from './write-commands.js';

/** What commands ask of the set around the primary. */
export interface SetFacts {
  readonly setId: ObjectId;
  readonly address: string;
  readonly hosts: readonly string[];
  readonly term: number;
  /** The operations of its connections, as `$currentOp` gives them. */
  operations(): Doc[];
  kill(opid: number): void;
}

type Handler = (context: Context, request: Request) => Promise<Answer>;

interface Context {
  readonly server: FakeServer;
  readonly numbers: SessionNumbers;
  readonly facts: SetFacts;
}

/** Whether a command changes something, so that a write concern has a meaning. */
export function isWrite(name: string): boolean {
  return WRITES.has(name);
}

/** Whether it changes the catalog. */
const STRUCTURAL = new Map<string, (server: FakeServer, request: Request) => void>([
  ['create', create],
  ['drop', drop],
  ['dropDatabase', dropDatabase],
  ['renameCollection', renameCollection],
  ['dropIndexes', dropIndexes],
  ['collMod', collMod],
]);
const WRITES = new Set([
  ...['insert', 'update', 'delete', 'createIndexes', 'setUserWriteBlockMode', 'appendOplogNote'],
  ...STRUCTURAL.keys(),
]);

/** Runs commands on the primary. */
export class CommandTable {
  readonly #context: Omit<Context, 'facts'>;

  constructor(server: FakeServer) {
    this.#context = { server, numbers: new SessionNumbers() };
  }

  /** What only the primary's memory knows of sessions is gone. */
  forgetNumbers(): void {
    this.#context.numbers.forget();
  }

  /** Errors: the server's; SimulationError for what it does not know. */
  async run(request: Request, facts: SetFacts): Promise<Answer> {
    const handler = HANDLERS.get(request.name);
    if (handler === undefined) throw new SimulationError(`the command ${request.name} is not simulated`);
    return handler({ ...this.#context, facts }, request);
  }
}

/** Waits for the majority that a write asked for. */
async function confirmed(server: FakeServer, request: Request, reply: Doc): Promise<Answer> {
  const time = server.state.oplog.lastTime;
  if (request.command['writeConcern'] !== undefined) await server.majorityHas(time);
  return { reply, time };
}

const writeDocuments: Handler = async ({ server, numbers }, request) => {
  const repeated = numbers.check(server.state, request);
  if (repeated !== undefined) return confirmed(server, request, repeated);
  return confirmed(server, request, write(server, request));
};

const structural: Handler = async ({ server }, request) => {
  server.assertUnblocked(request);
  STRUCTURAL.get(request.name)?.(server, request);
  return confirmed(server, request, { ok: 1 });
};

const createIndexes: Handler = async ({ server }, request) => {
  server.assertUnblocked(request);
  const createdCollectionAutomatically = makeForIndexes(server, request);
  await server.builds.create(request);
  return confirmed(server, request, { createdCollectionAutomatically, ok: 1 });
};

/** createIndexes makes a collection that is not there, without options, where it does not ask for one by its UUID. */
function makeForIndexes(server: FakeServer, { db, target, command }: Request): boolean {
  if (command['collectionUUID'] !== undefined || server.catalog.find(db, target) !== undefined) return false;
  server.state.change((tx) => void server.createCollection(db, target, new Map(), tx));
  return true;
}

const setBlock: Handler = async ({ server }, request) => {
  const isBlocked = request.command['global'] === true;
  if (isBlocked) await untilNoTransaction(server, request.command['maxTimeMS']);
  const { modes } = server.state;
  const before = modes.isBlocked;
  server.builds.abortAll(Codes.IndexBuildAborted);
  const set = (value: boolean) => () => {
    modes.isBlocked = value;
  };
  if (before !== isBlocked) server.state.change((tx) => tx.did(made({ redo: set(isBlocked), undo: set(before) })));
  return { reply: { ok: 1 } };
};

async function untilNoTransaction(server: FakeServer, maxTimeMS: unknown): Promise<void> {
  const leftMs = server.transactionUntilMs - server.nowMs;
  if (leftMs <= 0) return;
  const limitMs = maxTimeMS === undefined ? Number.POSITIVE_INFINITY : numberOf(maxTimeMS);
  await new Promise<void>((resolve) => void server.after(Math.min(leftMs, limitMs), resolve));
  if (leftMs > limitMs) throw serverError(Codes.MaxTimeMSExpired, 'operation exceeded time limit');
}

const note: Handler = async ({ server }, request) => {
  server.state.note();
  return confirmed(server, request, { ok: 1 });
};

const hellos = new WeakMap<SetFacts, { readonly term: number; readonly reply: Doc }>();

const hello: Handler = async ({ facts }) => {
  const known = hellos.get(facts);
  if (known?.term === facts.term) return { reply: known.reply };
  const reply = helloOf(facts);
  hellos.set(facts, { term: facts.term, reply });
  return { reply };
};

function helloOf({ address: me, hosts, setId, term }: SetFacts): Doc {
  const processId = new ObjectId(Buffer.from(me.padEnd(12, '.').slice(0, 12), 'latin1'));
  const electionId = new ObjectId(Buffer.from(`7fffffff${term.toString(16).padStart(16, '0')}`, 'hex'));
  return {
    me,
    hosts,
    setName: setId.toHexString(),
    primary: me,
    isWritablePrimary: true,
    electionId,
    topologyVersion: { processId, counter: Long.fromNumber(term) },
    ok: 1,
  };
}

const aggregate: Handler = async ({ server, facts }, request) => {
  const [first, ...rest] = request.command['pipeline'] as Doc[];
  if (first?.['$changeStream'] !== undefined) return openStream(server, request);
  if (first?.['$currentOp'] !== undefined) return { reply: currentOperations(server, facts, request, rest) };
  return aggregateCollection(server, request);
};

function currentOperations(server: FakeServer, facts: SetFacts, request: Request, stages: readonly Doc[]): Doc {
  const isOpen = server.transactionUntilMs > server.nowMs;
  const transaction = { transaction: { timeOpenMicros: Long.fromNumber(1), parameters: { autocommit: false } } };
  let operations = [...facts.operations(), ...(isOpen ? [transaction] : [])];
  for (const stage of stages) {
    const match = stage['$match'] as Doc | undefined;
    if (match !== undefined) operations = operations.filter((each) => matchesOperation(each, match));
    if (stage['$limit'] !== undefined) operations = operations.slice(0, numberOf(stage['$limit']));
  }
  return wholeReply(request, 'admin.$cmd.aggregate', operations.map(toRaw));
}

function matchesOperation(operation: Doc, match: Doc): boolean {
  return Object.entries(match).every(([name, condition]) => {
    if (name === 'connectionId') return operation['connectionId'] === condition;
    if (name === 'clientMetadata.platform')
      return new RegExp((condition as { $regex: string }).$regex).test(String(operation['platform']));
    if (name === 'transaction.parameters.autocommit') return operation['transaction'] !== undefined;
    throw new SimulationError(`a $currentOp by ${name} is not simulated`);
  });
}

const fixed =
  (make: (context: Context, request: Request) => Doc): Handler =>
  async (context, request) => ({ reply: { ...make(context, request), ok: 1 } });

const ping: Handler = fixed(() => ({}));

const HANDLERS = new Map<string, Handler>([
  ['insert', writeDocuments],
  ['update', writeDocuments],
  ['delete', writeDocuments],
  ...[...STRUCTURAL.keys()].map((name) => [name, structural] as const),
  ['createIndexes', createIndexes],
  ['setUserWriteBlockMode', setBlock],
  ['appendOplogNote', note],
  ['find', ({ server }, request) => find(server, request)],
  ['getMore', ({ server }, request) => getMore(server, request)],
  ['count', ({ server }, request) => count(server, request)],
  ['dataSize', ({ server }, request) => dataSize(server, request)],
  ['aggregate', aggregate],
  ['listDatabases', ({ server }, request) => listDatabases(server, request)],
  ['listCollections', ({ server }, request) => listCollections(server, request)],
  ['listIndexes', ({ server }, request) => listIndexes(server, request)],
  ['hello', hello],
  ['ping', ping],
  [
    'killOp',
    fixed(({ facts }, { command }) => {
      facts.kill(numberOf(command['op']));
      return {};
    }),
  ],
  [
    'killCursors',
    fixed(({ server }, { command }) => {
      for (const id of command['cursors'] as unknown[]) server.closeCursor(numberOf(id));
      return { cursorsKilled: command['cursors'] };
    }),
  ],
  ['buildInfo', fixed(() => ({ version: '6.0.5', versionArray: [6, 0, 5, 0] }))],
  [
    'connectionStatus',
    fixed(() => ({
      authInfo: { authenticatedUsers: [], authenticatedUserRoles: [], authenticatedUserPrivileges: [] },
    })),
  ],
  [
    'replSetGetConfig',
    fixed(({ facts }) => ({
      config: { settings: { replicaSetId: facts.setId }, members: facts.hosts.map((host) => ({ host })) },
    })),
  ],
  ['getParameter', fixed(() => ({ featureCompatibilityVersion: { version: '6.0' } }))],
  ['dbStats', fixed(() => ({ fsTotalSize: 1e12, fsUsedSize: 1e9 }))],
  ['serverStatus', fixed(({ server }) => ({ repl: { userWriteBlockMode: server.state.modes.isBlocked ? 2 : 1 } }))],
  ['usersInfo', fixed(() => ({ users: [] }))],
]);

/** A refusal of a command that only a primary takes. */
export function notPrimary(): Error {
  return serverError(Codes.NotWritablePrimary, 'not primary', { errorLabels: ['RetryableWriteError'] });
}
