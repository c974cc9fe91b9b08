/** What a mongos refuses, in one table with the source of each row, so that the router double refuses it, too. */
import type { Command } from './command.js';
import { RouterError } from './errors.js';
import { type Encodable, numberOf, textOf } from './raw-values.js';

/** A refusal: the code, and the text with `{…}` for what is filled in. */
interface Refusal {
  readonly code: number;
  readonly codeName: string;
  readonly text: string;
  /** Where this is known from. Files are of MongoDB's source, `src/mongo/`, about version 6.0. */
  readonly source: string;
}

/** By a name of ours. */
export const REFUSALS = {
  unknownCommand: {
    code: 59,
    codeName: 'CommandNotFound',
    text: "no such command: '{name}'",
    source: 's/commands/strategy.cpp',
  },
  notLoggedIn: {
    code: 13,
    codeName: 'Unauthorized',
    text: 'command {name} requires authentication',
    source: 'db/auth/authorization_session_impl.cpp',
  },
  mayNotBypass: {
    code: 6317500,
    codeName: 'Location6317500',
    text: 'Client is not properly authorized to propagate mayBypassWriteBlocking',
    source: 'db/write_block_bypass.cpp',
  },
  missingPrivilege: {
    code: 13,
    codeName: 'Unauthorized',
    text: 'not authorized on {db} to execute command {command}',
    source: 'db/commands.cpp',
  },
  adminOnly: {
    code: 13,
    codeName: 'Unauthorized',
    text: '{name} may only be run against the admin database.',
    source: 'db/commands.cpp',
  },
  resumeTokenOfFind: {
    code: 2,
    codeName: 'BadValue',
    text: 'Queries on mongoS may not request or provide a resume token',
    source: 's/query/cluster_find.cpp; on unsharded collections, too',
  },
  resumeTokenOfAggregate: {
    code: 2,
    codeName: 'BadValue',
    text: 'Aggregate queries on mongoS may not request or provide a resume token',
    source: 's/query/cluster_aggregate.cpp of 8.0; 6.0 does not know the fields at all',
  },
  internalAggregate: {
    code: 51089,
    codeName: 'Location51089',
    text: "Internal parameter(s) [needsMerge, fromMongos] cannot be set to 'true' when sent to mongos",
    source: 's/query/cluster_aggregate.cpp',
  },
  findByUuid: {
    code: 73,
    codeName: 'InvalidNamespace',
    text: 'Collection name must be provided. UUID is not valid in this context',
    source: 's/commands: a mongos parses no UUID for a name',
  },
  migrationEvents: {
    code: 31123,
    codeName: 'Location31123',
    text: 'Change streams from mongos may not show migration events',
    source: 'db/pipeline/document_source_change_stream.cpp',
  },
  systemNamespaces: {
    code: 73,
    codeName: 'InvalidNamespace',
    text: '$changeStream may not be opened on the internal {ns} collection through mongos',
    source: 'db/pipeline/document_source_change_stream.cpp',
  },
  tokenNotFound: {
    code: 280,
    codeName: 'ChangeStreamFatalError',
    text: 'Executor error during getMore :: caused by :: cannot resume stream; the resume token was not found. {_data: "{token}"}',
    source: 'db/pipeline/document_source_change_stream_ensure_resume_token_present.cpp, which runs on a mongos',
  },
  arrayInKey: {
    code: 61,
    codeName: 'ShardKeyNotFound',
    text: 'Shard key cannot contain array values or array descendants.',
    source: 's/shard_key_pattern.cpp',
  },
  upsertWithoutKey: {
    code: 61,
    codeName: 'ShardKeyNotFound',
    text: 'Failed to target upsert by query :: could not extract exact shard key',
    source: 's/chunk_manager_targeter.cpp',
  },
  updateWithoutKey: {
    code: 72,
    codeName: 'InvalidOptions',
    text: 'A {multi:false} update on a sharded collection must contain an exact match on _id (and have the collection default collation) or must target a single shard (and have the simple collation), but this update targeted {count} shards. Update request: {statement}, shard key pattern: {key}',
    source: 's/chunk_manager_targeter.cpp',
  },
  deleteWithoutKey: {
    code: 61,
    codeName: 'ShardKeyNotFound',
    text: 'A single delete on a sharded collection must contain an exact match on _id (and have the collection default collation) or contain the shard key (and have the simple collation). Delete request: {statement}, shard key pattern: {key}',
    source: 's/chunk_manager_targeter.cpp',
  },
  findAndModifyWithoutKey: {
    code: 61,
    codeName: 'ShardKeyNotFound',
    text: 'Query for sharded findAndModify must contain the shard key',
    source: 's/commands/cluster_find_and_modify_cmd.cpp; SERVER-44422',
  },
  keyMoveInBatch: {
    code: 72,
    codeName: 'InvalidOptions',
    text: 'Document shard key value updates that cause the doc to move shards must be sent with write batch of size 1',
    source: 's/commands/cluster_write_cmd.cpp',
  },
  keyMoveWithoutRetry: {
    code: 20,
    codeName: 'IllegalOperation',
    text: 'Must run update to shard key field in a multi-statement transaction or with retryWrites: true.',
    source: 's/commands/cluster_write_cmd.cpp, document_shard_key_update_util.cpp',
  },
  replSetGetStatus: {
    code: 0,
    codeName: '',
    text: 'replSetGetStatus is not supported through mongos',
    source: 's/commands/cluster_repl_set_get_status_cmd.cpp: an answer without a code, with `info: "mongos"`',
  },
  unknownParameter: {
    code: 72,
    codeName: 'InvalidOptions',
    text: 'no option found to get',
    source: 'db/commands/parameters.cpp; a mongos has no featureCompatibilityVersion (idl: mongod only)',
  },
  killOpOfWhom: {
    code: 2,
    codeName: 'BadValue',
    text: 'The op argument to killOp must be of the format shardid:opid but found "{op}"',
    source: 's/commands/cluster_kill_op.cpp',
  },
  dropOfConfig: {
    code: 20,
    codeName: 'IllegalOperation',
    text: "Cannot drop collection in '{db}' database",
    source: 's/commands/cluster_drop_cmd.cpp, cluster_drop_database_cmd.cpp',
  },
  localDatabase: {
    code: 72,
    codeName: 'InvalidOptions',
    text: "Cannot use the '{db}' database through mongos",
    source: 's/sharding_initialization.cpp, catalog_cache.cpp: `local` has no place in a cluster; the text is ours',
  },
  cappedSharded: {
    code: 20,
    codeName: 'IllegalOperation',
    text: "You can't convertToCapped a sharded collection",
    source: 's/commands/cluster_convert_to_capped_cmd.cpp',
  },
  renameToOtherShard: {
    code: 13137,
    codeName: 'Location13137',
    text: 'Source and destination collections must be on same shard',
    source: 's/commands/cluster_rename_collection_cmd.cpp',
  },
  notSharded: {
    code: 118,
    codeName: 'NamespaceNotSharded',
    text: 'namespace {ns} not sharded',
    source: 's/catalog_cache.cpp',
  },
  splitAtBoundary: {
    code: 72,
    codeName: 'InvalidOptions',
    text: 'new split key {key} is a boundary key of existing chunk',
    source: 's/commands/cluster_split_cmd.cpp',
  },
  moveToNowhere: {
    code: 70,
    codeName: 'ShardNotFound',
    text: "Could not move chunk in '{ns}' to shard '{shard}' because that shard does not exist",
    source: 's/commands/cluster_move_chunk_cmd.cpp',
  },
  explain: {
    code: 238,
    codeName: 'NotImplemented',
    text: 'the router double does not explain',
    source: 'none: a mongos does; the double says what it is',
  },
} as const satisfies Readonly<Record<string, Refusal>>;

/** A row of {@link REFUSALS}. */
export type RefusalName = keyof typeof REFUSALS;

/** The error of a row, its text filled in. */
export function refused(
  name: RefusalName,
  details: Readonly<Record<string, string | number>> = {},
  extra: Readonly<Record<string, Encodable>> = {},
): RouterError {
  const { code, codeName, text } = REFUSALS[name];
  // Names in braces that are no details belong to the text.
  const filled = text.replace(/\{(\w+)\}/g, (whole, detail: string) => String(details[detail] ?? whole));
  return new RouterError(code, codeName, filled, extra);
}

/**
 * Commands of a mongod that a mongos does not have: they answer as unknown ones do, but are known to. Source: they are
 * registered in `db/commands` and not in `s/commands` of 6.0.
 */
export const NOT_ON_MONGOS: ReadonlySet<string> = new Set([
  'applyOps',
  'cleanupOrphaned',
  'compact',
  'dbHash',
  'dbCheck',
  'getDiagnosticData',
  'godinsert',
  'internalRenameIfOptionsAndIndexesMatch',
  'lockInfo',
  'oplogNote',
  'reIndex',
  'replSetAbortPrimaryCatchUp',
  'replSetFreeze',
  'replSetGetConfig',
  'replSetGetRBID',
  'replSetHeartbeat',
  'replSetInitiate',
  'replSetMaintenance',
  'replSetReconfig',
  'replSetRequestVotes',
  'replSetStepDown',
  'replSetStepUp',
  'replSetSyncFrom',
  'replSetUpdatePosition',
  'setIndexCommitQuorum',
  'top',
]);

/** Refuses what a command's own fields make a mongos refuse, whatever it is about. */
export function requireAllowedFields(command: Command): void {
  if (command.name === 'find' && asksForResumeToken(command)) throw refused('resumeTokenOfFind');
  if (command.name !== 'aggregate') return;
  if (asksForResumeToken(command)) throw refused('resumeTokenOfAggregate');
  if (command.flag('fromMongos') || command.flag('needsMerge')) throw refused('internalAggregate');
}

function asksForResumeToken(command: Command): boolean {
  return command.flag('$_requestResumeToken') || command.has('$_resumeAfter');
}

/** `<shard>:<number>` of killOp. Errors: BadValue (2). */
export function shardOperation(command: Command): { readonly shard: string; readonly operation: number } {
  const op = command.get('op');
  const [, shard, operation] = /^([^:]+):(-?\d+)$/.exec(textOf(op) ?? '') ?? [];
  if (shard !== undefined) return { shard, operation: Number(operation) };
  throw refused('killOpOfWhom', { op: textOf(op) ?? numberOf(op) ?? '' });
}
