/** Lists the fields of StartRequest that `start`, `check` and `verify` take as flags. */

/** One field of StartRequest as a flag of `start`, `check` and `verify`. */
export interface StartFlag {
  /** The field's JSON name. */
  readonly name: string;
  /** `json`: the value is JSON, as in the request's body. `blocking`: a mode's name, or true or false. */
  readonly kind: 'text' | 'boolean' | 'json' | 'blocking';
  readonly argument?: string;
  readonly help: string;
}

/** Every option of a migration, in the order of StartRequest. */
export const START_FLAGS: readonly StartFlag[] = [
  { name: 'source', kind: 'text', argument: 'CLUSTER', help: 'the cluster to read (default: cluster0)' },
  { name: 'destination', kind: 'text', argument: 'CLUSTER', help: 'the cluster to write (default: the other one)' },
  {
    name: 'buildIndexes',
    kind: 'text',
    argument: 'MODE',
    help: 'afterDataCopy, beforeDataCopy, excludeHashed, excludeHashedAfterCopy or never',
  },
  {
    name: 'enableUserWriteBlocking',
    kind: 'blocking',
    argument: 'MODE',
    help: 'destinationOnly, sourceAndDestination or none',
  },
  { name: 'reversible', kind: 'boolean', help: 'allow the direction to be reversed after the commit' },
  {
    name: 'includeNamespaces',
    kind: 'json',
    argument: 'JSON',
    help: 'migrate only these, as [{"database":"a","collections":["b"]}]',
  },
  { name: 'excludeNamespaces', kind: 'json', argument: 'JSON', help: 'do not migrate these' },
  {
    name: 'copyInNaturalOrder',
    kind: 'json',
    argument: 'JSON',
    help: 'copy these in natural order, as [{"database":"a"}]',
  },
  { name: 'detectRandomId', kind: 'boolean', help: 'find large collections with random _ids' },
  { name: 'preExistingDestinationData', kind: 'boolean', help: 'allow other data on the destination' },
  {
    name: 'sharding',
    kind: 'json',
    argument: 'JSON',
    help: 'how to shard on the destination, as {"shardingEntries":[]}',
  },
  { name: 'verification', kind: 'boolean', help: 'verify the migration' },
  {
    name: 'namespaceRemap',
    kind: 'json',
    argument: 'JSON',
    help: 'rename databases, as [{"from":{"database":"a"},"to":{"database":"b"}}]',
  },
  {
    name: 'documentFilter',
    kind: 'json',
    argument: 'JSON',
    help: 'migrate only some documents, as {"field":"a","matchValues":[1]}',
  },
  { name: 'skipDiskSpaceCheck', kind: 'boolean', help: 'start although the destination may be too small' },
];

const FOR_VERIFY: readonly string[] = [
  'source',
  'destination',
  'buildIndexes',
  'includeNamespaces',
  'excludeNamespaces',
  'preExistingDestinationData',
  'namespaceRemap',
  'documentFilter',
];

/** Those that decide what the destination is to hold, for `verify`. */
export const VERIFY_FLAGS = START_FLAGS.filter(({ name }) => FOR_VERIFY.includes(name));
