/** Answers what is asked about the router itself. */
import { hostname } from 'node:os';
import { CONFIG } from './backend.js';
import { appNameOf } from './fail-command.js';
import { relaySpeculation } from './logins.js';
import { type Doc, doc, type Encodable, textOf } from './raw-values.js';
import { refused } from './refusals.js';
import { answered, okay, type Request } from './request.js';

const WIRE_VERSION = 17;

/**
 * The handler of hello and its older names. Drivers tell a mongos by `msg`. Without a `topologyVersion` they ask again and
 * again, rather than have the answers streamed, which this router cannot do.
 */
export async function hello(request: Request): Promise<Doc> {
  const { command, client } = request;
  client.appName ??= appNameOf(command);
  const isOld = command.name.toLowerCase() === 'ismaster';
  const fields = doc(isOld && command.has('helloOk') ? { helloOk: true } : undefined, {
    [isOld ? 'ismaster' : 'isWritablePrimary']: true,
    msg: 'isdbgrid',
    maxBsonObjectSize: 16 * 1024 * 1024,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    localTime: new Date(),
    logicalSessionTimeoutMinutes: 30,
    connectionId: client.number,
    maxWireVersion: WIRE_VERSION,
    minWireVersion: 0,
    routerDouble: true,
  });
  fields.set('saslSupportedMechs', await mechanisms(request));
  fields.set('speculativeAuthenticate', await relaySpeculation(request));
  return okay(fields);
}

async function mechanisms({ command, backend }: Request): Promise<Encodable> {
  const user = command.get('saslSupportedMechs');
  if (user === undefined || !backend.authenticated) return undefined;
  const answer = await backend.call({ shard: CONFIG, db: 'admin', body: doc({ hello: 1, saslSupportedMechs: user }) });
  return answer.get('saslSupportedMechs');
}

/** The handler of buildInfo: the version is that of the servers behind the router. */
export async function buildInfo(request: Request): Promise<Doc> {
  const answer = await request.callOk(CONFIG, 'admin', doc({ buildInfo: 1 }));
  answer.delete('storageEngines');
  answer.delete('operationTime');
  return doc(answer);
}

/** The handler of serverStatus. `routerDouble` counts commands, refusals of unknown ones, and stale routing. */
export async function serverStatus(request: Request): Promise<Doc> {
  const { backend, parts } = request;
  const uptimeMillis = Date.now() - parts.startedAt;
  const build = await request.callOk(CONFIG, 'admin', doc({ buildInfo: 1 }));
  return okay({
    host: hostname(),
    version: build.get('version'),
    process: 'mongos',
    pid: BigInt(process.pid),
    uptime: Math.floor(uptimeMillis / 1000),
    uptimeMillis: BigInt(uptimeMillis),
    localTime: new Date(),
    connections: { current: 1, available: 100 },
    sharding: { configsvrConnectionString: backend.connectionString(CONFIG), maxChunkSizeInBytes: 134_217_728n },
    routerDouble: doc(parts.counters),
  });
}

const PARAMETERS: Readonly<Record<string, Encodable>> = {
  authenticationMechanisms: ['SCRAM-SHA-256', 'SCRAM-SHA-1'],
  cursorTimeoutMillis: 600_000n,
  logLevel: 0,
  maxBSONDepth: 200,
  transportLayerType: 'asio',
};

/** The handler of getParameter. Errors: InvalidOptions (72) for those a mongos does not have, FCV among them. */
export async function getParameter({ command, parts }: Request): Promise<Doc> {
  if (textOf(command.target) === '*' || command.flag('allParameters')) return okay(PARAMETERS);
  if (command.has('failpoint.failCommand')) {
    return okay({ 'failpoint.failCommand': { timesEntered: BigInt(parts.failCommand.timesEntered) } });
  }
  const asked = command.ownNames().filter((name) => Object.hasOwn(PARAMETERS, name));
  if (asked.length === 0) throw refused('unknownParameter');
  return okay(Object.fromEntries(asked.map((name) => [name, PARAMETERS[name]])));
}

/** The handler of replSetGetStatus. */
export async function replSetGetStatus(): Promise<Doc> {
  throw refused('replSetGetStatus', {}, { info: 'mongos' });
}

/** The handler of hostInfo. */
export async function hostInfo(request: Request): Promise<Doc> {
  const answer = await request.callOk(CONFIG, 'admin', doc({ hostInfo: 1 }));
  return answered(answer, answer);
}

/** The handler of explain, and of what explains. */
export async function explain(): Promise<Doc> {
  throw refused('explain');
}

/** The handler of getLog. */
export async function getLog({ command }: Request): Promise<Doc> {
  if (textOf(command.target) === '*') return okay({ names: ['global', 'startupWarnings'] });
  return okay({ totalLinesWritten: 0, log: [] });
}

/** The handler of getCmdLineOpts. */
export async function getCmdLineOpts(): Promise<Doc> {
  return okay({ argv: ['router double (stands for mongos)'], parsed: {} });
}

/** The handler of isdbgrid. */
export async function isdbgrid(): Promise<Doc> {
  return okay({ isdbgrid: 1, hostname: hostname() });
}

/** The handler of whatsmyuri. */
export async function whatsMyUri({ client }: Request): Promise<Doc> {
  return okay({ you: `127.0.0.1:${client.number}` });
}

/** The handler of what there is nothing to do for. */
export async function nothing(): Promise<Doc> {
  return okay({});
}
