/** Carries out the administration of a cluster that the config servers do: shards, balancer, zones, write block. */
import { CONFIG } from './backend.js';
import { onConfig } from './chunks.js';
import { requireAdmin } from './ddl.js';
import { type Doc, doc } from './raw-values.js';
import { answered, type Handler, okay, type Request } from './request.js';

/** A command that the config servers know under another name. */
interface Renamed {
  readonly as: string;
  /** The options that are sent on; default none. */
  readonly options?: readonly string[];
  /** The config servers' command takes no write concern, and refuses one. */
  readonly withoutConcern?: true;
  /** The config servers' answer is the client's; else it is only `ok`. */
  readonly passes?: true;
  /** The value is the client's; else 1. */
  readonly named?: true;
}

const RENAMED: Readonly<Record<string, Renamed>> = {
  balancerStart: { as: '_configsvrBalancerStart', withoutConcern: true },
  balancerStop: { as: '_configsvrBalancerStop', options: ['maxTimeMS'], withoutConcern: true },
  balancerStatus: { as: '_configsvrBalancerStatus', withoutConcern: true, passes: true },
  balancerCollectionStatus: {
    as: '_configsvrBalancerCollectionStatus',
    withoutConcern: true,
    passes: true,
    named: true,
  },
  configureCollectionBalancing: {
    as: '_configsvrConfigureCollectionBalancing',
    options: ['chunkSize', 'defragmentCollection', 'enableAutoSplitter'],
    withoutConcern: true,
    named: true,
  },
  addShardToZone: { as: '_configsvrAddShardToZone', options: ['zone'], named: true },
  removeShardFromZone: { as: '_configsvrRemoveShardFromZone', options: ['zone'], named: true },
  updateZoneKeyRange: { as: '_configsvrUpdateZoneKeyRange', options: ['min', 'max', 'zone'], named: true },
  setUserWriteBlockMode: { as: '_configsvrSetUserWriteBlockMode', options: ['global'] },
};

async function renamed(request: Request, { as, options = [], withoutConcern, passes, named }: Renamed): Promise<Doc> {
  requireAdmin(request);
  const { command } = request;
  const body = doc({ [as]: named ? command.target : 1 }, command.some(...options));
  const answer = withoutConcern ? await request.callOk(CONFIG, 'admin', body) : await onConfig(request, body);
  return passes ? answered(answer, answer) : okay({}, answer);
}

/** Handlers of the commands that only have another name on the config servers. */
export const RENAMED_COMMANDS: Readonly<Record<string, Handler>> = Object.fromEntries(
  Object.entries(RENAMED).map(([name, command]) => [name, (request: Request) => renamed(request, command)]),
);

/** The handler of listShards. */
export async function listShards(request: Request): Promise<Doc> {
  requireAdmin(request);
  return okay({ shards: await request.catalog.find('shards') });
}

/** The handler of addShard. */
export async function addShard(request: Request): Promise<Doc> {
  requireAdmin(request);
  const { command, catalog } = request;
  const answer = await onConfig(request, doc({ _configsvrAddShard: command.target }, command.some('name')));
  await catalog.loadShards();
  return answered(answer, answer);
}

/** The handler of removeShard. */
export async function removeShard(request: Request): Promise<Doc> {
  requireAdmin(request);
  const answer = await onConfig(request, doc({ _configsvrRemoveShard: request.command.target }));
  await request.catalog.loadShards();
  return answered(answer, answer);
}

/** The handler of getShardMap. */
export async function getShardMap({ backend }: Request): Promise<Doc> {
  const names = [CONFIG, ...backend.shards];
  return okay({ map: Object.fromEntries(names.map((name) => [name, backend.connectionString(name)])) });
}

/** The handler of flushRouterConfig. */
export async function flushRouterConfig({ catalog }: Request): Promise<Doc> {
  catalog.forgetAll();
  return okay({ flushed: true });
}

/** The handler of setFeatureCompatibilityVersion. */
export async function setFeatureCompatibilityVersion(request: Request): Promise<Doc> {
  requireAdmin(request);
  return okay({}, await onConfig(request, request.command.body()));
}

/** The handler of what the config servers answer as it is: users, roles, default concerns. */
export async function passToConfig(request: Request): Promise<Doc> {
  const { command } = request;
  const answer = await request.callOk(CONFIG, command.db, doc(command.body(), command.some('cursor')));
  return answered(answer, answer);
}

/** As {@link passToConfig}, for what changes something. */
export async function passWriteToConfig(request: Request): Promise<Doc> {
  const { command } = request;
  const body = doc(command.body(), {
    writeConcern: command.get('writeConcern') ?? { w: 'majority', wtimeout: 60_000 },
  });
  const answer = await request.callOk(CONFIG, command.db, body);
  return answered(answer, answer);
}
