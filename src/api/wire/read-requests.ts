/** Reads every kind of request into what the migration is asked for. */
import type { Duration } from '../../../gen/google/protobuf/duration.js';
import { StartRequest } from '../../../gen/mongoferry/v1/start_options.js';
import {
  CheckRequest,
  GetProgressRequest,
  ListMismatchesRequest,
  ListNamespacesRequest,
  ProgressRequest,
  RepairRequest,
} from '../../../gen/mongoferry/v1/sync_service.js';
import type { FieldViolation } from '../../errors.js';
import type { StartOptions } from '../../start/options.js';
import { MAX_REGEXES } from '../limits.js';
import { memberPath, type Violations } from '../violations.js';
import { type DetailsChoice, readDetails } from './progress.js';
import { decodeRequest, type EncodedRequest } from './request.js';
import { readStartOptions } from './start-options.js';

const DEFAULT_INTERVAL_MS = 1000;
const MIN_INTERVAL_MS = 100;
const MAX_INTERVAL_MS = 3_600_000;
const DEFAULT_PAGE_SIZE = 100;
const MAX_PAGE_SIZE = 1000;
export const PAGE_SIZE_RULE = `must be from 1 to ${MAX_PAGE_SIZE}`;

/** Asks a cluster which regular expressions of the options it refuses; the options may be wrong in form otherwise. */
export type JudgeRegexes = (options: StartOptions) => Promise<readonly FieldViolation[]>;

/** Errors of every function here: InvalidRequest with all of the request's violations. */
export async function readStartRequest(request: EncodedRequest, judge: JudgeRegexes): Promise<StartOptions> {
  const { message, violations } = decodeRequest('mongoferry.v1.StartRequest', StartRequest, request);
  const options = readStartOptions(message, '', violations);
  await addRegexViolations({ options, prefix: '', violations, judge });
  violations.throwIfAny();
  return options;
}

interface RegexQuestion {
  readonly options: StartOptions;
  readonly prefix: string;
  readonly violations: Violations;
  readonly judge: JudgeRegexes;
}

/** Only for a request that is refused anyway: the others are judged when they are carried out. */
async function addRegexViolations({ options, prefix, violations, judge }: RegexQuestion): Promise<void> {
  const entries = [...options.includeNamespaces, ...options.excludeNamespaces];
  const regexes = entries.filter(({ databaseRegex, collectionsRegex }) => databaseRegex ?? collectionsRegex).length;
  if (violations.all.length === 0 || regexes === 0 || regexes > MAX_REGEXES) return;
  for (const { field, description } of await judge(options)) violations.add(memberPath(prefix, field), description);
}

/** The options to check; source and destination need not be given. */
export async function readCheckRequest(request: EncodedRequest, judge: JudgeRegexes): Promise<StartOptions> {
  const { message, violations } = decodeRequest('mongoferry.v1.CheckRequest', CheckRequest, request);
  const given = message.options ?? StartRequest.create();
  const source = given.source === '' ? 'cluster0' : given.source;
  const destination = given.destination === '' ? 'cluster1' : given.destination;
  const options = readStartOptions({ ...given, source, destination }, 'options', violations);
  await addRegexViolations({ options, prefix: 'options', violations, judge });
  violations.throwIfAny();
  return options;
}

/** What a stream is to send. */
export interface ProgressStreamOptions {
  /** Longest time between two messages, in milliseconds. */
  readonly intervalMs: number;
  readonly follow: boolean;
  readonly details: DetailsChoice;
}

/** What a progress stream is to send. */
export function readProgressRequest(request: EncodedRequest): ProgressStreamOptions {
  const { message, violations } = decodeRequest('mongoferry.v1.ProgressRequest', ProgressRequest, request);
  const intervalMs = readInterval(message.interval, violations);
  const details = readDetails(message.details, violations);
  violations.throwIfAny();
  return { intervalMs, follow: message.follow, details };
}

function readInterval(interval: Duration | undefined, violations: Violations): number {
  if (interval === undefined) return DEFAULT_INTERVAL_MS;
  const ms = interval.seconds * 1000 + interval.nanos / 1e6;
  if (ms < MIN_INTERVAL_MS || ms > MAX_INTERVAL_MS) violations.add('interval', 'must be from 0.1s to 3600s');
  return ms;
}

/** Which namespaces a single snapshot is to hold. */
export function readGetProgressRequest(request: EncodedRequest): DetailsChoice {
  const { message, violations } = decodeRequest('mongoferry.v1.GetProgressRequest', GetProgressRequest, request);
  const details = readDetails(message.details, violations);
  violations.throwIfAny();
  return details;
}

/** Which page is wanted. */
export interface PageOptions {
  readonly pageSize: number;
  /** The name that ended the page before; undefined for the first page. */
  readonly after: string | undefined;
}

/** Which page of namespaces is wanted. */
export function readListNamespacesRequest(request: EncodedRequest): PageOptions {
  const { message, violations } = decodeRequest('mongoferry.v1.ListNamespacesRequest', ListNamespacesRequest, request);
  return readPage(message, violations);
}

/** Which page of mismatches is wanted. */
export function readListMismatchesRequest(request: EncodedRequest): PageOptions {
  const { message, violations } = decodeRequest('mongoferry.v1.ListMismatchesRequest', ListMismatchesRequest, request);
  return readPage(message, violations);
}

/** Ids of the mismatches to repair; none: all. */
export function readRepairRequest(request: EncodedRequest): readonly string[] {
  const { message, violations } = decodeRequest('mongoferry.v1.RepairRequest', RepairRequest, request);
  for (const [i, id] of message.mismatchIds.entries()) {
    if (!/^[0-9a-f]{32}:[0-9a-f]{40}$/.test(id)) violations.add(`mismatchIds[${i}]`, 'is not the id of a mismatch');
  }
  violations.throwIfAny();
  return message.mismatchIds;
}

function readPage(
  { pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string },
  violations: Violations,
): PageOptions {
  if (pageSize < 0 || pageSize > MAX_PAGE_SIZE) violations.add('pageSize', PAGE_SIZE_RULE);
  const after = pageToken === '' ? undefined : decodePageToken(pageToken);
  if (after === '') violations.add('pageToken', 'is not the nextPageToken of an earlier answer');
  violations.throwIfAny();
  return { pageSize: pageSize === 0 ? DEFAULT_PAGE_SIZE : pageSize, after };
}

/** The token that continues behind the namespace `name`: stays right when namespaces come and go between two pages. */
export function encodePageToken(name: string): string {
  return Buffer.from(name, 'utf8').toString('base64url');
}

/** The token's namespace, or "" when it is no token of ours. */
function decodePageToken(token: string): string {
  const name = Buffer.from(token, 'base64url').toString('utf8');
  return encodePageToken(name) === token ? name : '';
}
