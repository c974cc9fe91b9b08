/** Holds the limits that both doors set to requests. */
import type { DescField } from '@bufbuild/protobuf';
import { LoopTurns } from '../lib/loop-turns.js';

/** The largest request that either front door takes, in bytes. */
export const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

/** How long a TLS handshake may take at either front door. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

/**
 * Values of a JSON body, or fields of an encoded message, in all. What a request costs grows with them, not with its
 * bytes: this many are read in a small part of a second.
 */
export const MAX_VALUES = 100_000;

/** From this size on, requests are read in turns. */
export const LARGE_REQUEST_BYTES = 4096;
/** For what callers may ask of both doors at the cost of many milliseconds: one in each turn of the event loop. */
export const costlyWork = new LoopTurns();

/** Regular expressions of one request: each is a question to the source, and is decided for every name there. */
export const MAX_REGEXES = 100;

/** Characters of a name or another text of a request, where nothing else is said. */
export const MAX_NAME_CHARACTERS = 1024;

/** Bytes of a pattern; servers take no longer ones. */
export const MAX_PATTERN_BYTES = 32_764;

const DEFAULT_MAX_ITEMS = 10_000;

/** Lists whose entries are compared with every name on a cluster, or with each other. */
const MAX_ITEMS: ReadonlyMap<string, number> = new Map([
  ['mongoferry.v1.StartRequest.include_namespaces', 1000],
  ['mongoferry.v1.StartRequest.exclude_namespaces', 1000],
  ['mongoferry.v1.StartRequest.copy_in_natural_order', 1000],
  ['mongoferry.v1.StartRequest.namespace_remap', 1000],
  ['mongoferry.v1.ShardCollection.key', 32],
]);

/** How many entries a list of a request may have. Source: docs/api.md, "Limits". */
export function maxItems(field: DescField): number {
  return MAX_ITEMS.get(`${field.parent.typeName}.${field.name}`) ?? DEFAULT_MAX_ITEMS;
}

/** What is wrong with a list that is longer. */
export function tooManyItems(field: DescField): string {
  return `holds more than ${maxItems(field)} entries`;
}
