/** Compares two clusters that no migration connects, while both may be written to. */
import { idText, type Timestamp } from '../bson/bson.js';
import { sameUuid } from '../catalog/collection-spec.js';
import { nsText } from '../catalog/namespace.js';
import { Scope } from '../catalog/scope.js';
import type { Cluster } from '../cluster/cluster.js';
import { changesOfBoth } from '../documents/change-sources.js';
import { DocumentFilter } from '../documents/document-filter.js';
import { AppError, InvariantError } from '../errors.js';
import { isBuilt } from '../indexes/build-mode.js';
import { mapLimit } from '../lib/limit.js';
import type { Logger } from '../lib/logger.js';
import { settlesWithin, sleep } from '../lib/signals.js';
import { runWith } from '../lib/tasks.js';
import type { Pair } from '../matching/compare-ids.js';
import { LocalRangeScanner } from '../matching/range-scanner.js';
import { type CopiedPart, compareCatalogs } from '../matching/two-catalogs.js';
import type { MigratedCollection } from '../metadata/collections.js';
import { type ConnectConfig, connectClusters } from '../start/connect.js';
import { loadOf } from '../start/load-level.js';
import type { ResolvedOptions } from '../start/options.js';
import type { VerifiedCollections } from '../verify/context.js';
import { numberAndOrder } from '../verify/final-check.js';
import { MemoryVerificationState } from '../verify/memory-state.js';
import { Verifier } from '../verify/verifier.js';
import type { VerifierProgress } from '../verify/verifier-view.js';

/** Something that is not the same on two clusters. */
export interface ClusterDifference {
  readonly namespace: string;
  readonly kind: string;
  /** Of a document: relaxed Extended JSON of its `_id`. */
  readonly documentId?: string;
  /** The first of the document's top-level fields that differs. */
  readonly field?: string;
  readonly detail?: string;
}

/** How to compare two clusters. */
export interface VerifyClustersOptions {
  readonly config: ConnectConfig;
  /** What the destination is to hold, as for a migration; what does not concern that is of no effect. */
  readonly wanted: ResolvedOptions;
  /** Resolves when nobody writes any more. Until then changes are followed, and differences may be of the moment. */
  readonly writesStopped: Promise<void>;
  readonly onProgress: (progress: VerifierProgress) => void;
  readonly logger: Logger;
}

/** What came of it. */
export interface ClustersVerified {
  readonly documents: number;
  readonly collections: number;
}

const PROGRESS_MS = 1000;
const CLOSE_MS = 1500;
/** An election is waited for, a wrong address is not. */
const PATIENCE_MS = 15_000;
const PARALLEL = 8;
/** Another tool's replication is behind by an unknown time: what differs is given this long. */
const COOL_DOWN_MS = 500;

/**
 * Compares two clusters, whatever brought the data there; writes to neither. Reports each difference as it is certain,
 * after the writes have stopped. Errors: ClusterUnreachable, UnsupportedTopology, InvalidRequest when the server does not
 * take a pattern, VerificationFailed when the clusters are too different to go on.
 */
export async function verifyClusters(
  options: VerifyClustersOptions,
  report: (difference: ClusterDifference) => void,
  signal: AbortSignal,
): Promise<ClustersVerified> {
  const clusters: Cluster[] = [];
  try {
    const { config, wanted, logger } = options;
    const connected = await connectClusters(
      { ...config, connectLimitMs: PATIENCE_MS },
      logger,
      { onConnected: (each) => clusters.push(each) },
      signal,
    );
    for (const cluster of connected) refuseTopology(cluster);
    const [cluster0, cluster1] = connected;
    const [source, destination] = wanted.source === 'cluster1' ? [cluster1, cluster0] : [cluster0, cluster1];
    const scope = new Scope(source, wanted);
    await scope.validate(signal);
    const filter = wanted.documentFilter === null ? undefined : new DocumentFilter(wanted.documentFilter);
    const part: CopiedPart = { scope, isBuilt: (spec) => isBuilt(wanted.buildIndexes ?? 'afterDataCopy', spec) };
    return await verifyPair({ source, destination, filter }, part, options, report, signal);
  } finally {
    await settlesWithin(Promise.all(clusters.map((each) => each.close())), CLOSE_MS);
  }
}

function refuseTopology(cluster: Cluster): void {
  if (cluster.facts.topology !== 'standalone') return;
  throw new AppError(
    'UnsupportedTopology',
    `${cluster.label} is a standalone server: changes made during the comparison could not be followed`,
  );
}

async function verifyPair(
  pair: Pair,
  part: CopiedPart,
  options: VerifyClustersOptions,
  report: (difference: ClusterDifference) => void,
  signal: AbortSignal,
): Promise<ClustersVerified> {
  const { source, destination } = pair;
  const { collections } = await compareCatalogs(pair, part, signal);
  const lost = new Set<string>();
  const logger = options.logger.component('verifier');
  const verifier = new Verifier({
    source,
    destination,
    changes: changesOfBoth(pair, logger),
    filter: pair.filter,
    narrowing: { source: [], destination: [] },
    buildsNoIndexes: false,
    store: new MemoryVerificationState(),
    collections: fixedCollections(collections),
    takeTime,
    applied: coolDown(),
    startScanner: async () => new LocalRangeScanner(pair),
    followsCatalog: false,
    // The catalogs tell, at the end, unless it is back by then.
    onTakenAway: ({ id }) => lost.add(id),
    expiresOnBoth: true,
    recopy: undefined,
    parallelRanges: loadOf(options.config.loadLevel).parallelComparisons,
    logger,
    onWarning: (warning) => options.logger.warn(warning),
    onChange: () => options.onProgress(verifier.progress),
  });
  const work = async (inner: AbortSignal): Promise<void> => {
    await options.writesStopped;
    const ends = await Promise.all([takeTime(source, inner), takeTime(destination, inner)]);
    await verifier.compareUpTo(...ends, inner);
    const changes = await compareCatalogs(pair, part, inner);
    for (const each of changes.differences) report(each);
    const known = new Map(collections.map((each) => [each.id, each]));
    const moved = changes.collections.flatMap((each) => changeOf(known.get(each.id), each, lost) ?? []);
    for (const each of moved) report(each);
    const isMoved = new Set(moved.map(({ namespace }) => namespace));
    const inPlace = changes.collections.filter((each) => !isMoved.has(nsText(each.sourceNs)));
    await reportDocuments(pair, verifier, inPlace, report, inner);
  };
  await runWith(
    work,
    [(inner) => verifier.run(inner), (inner) => keepTelling(() => options.onProgress(verifier.progress), inner)],
    signal,
  );
  return { documents: verifier.progress.source.hashedDocuments, collections: collections.length };
}

async function reportDocuments(
  pair: Pair,
  verifier: Verifier,
  collections: readonly MigratedCollection[],
  report: (difference: ClusterDifference) => void,
  signal: AbortSignal,
): Promise<void> {
  for await (const page of verifier.mismatches.pages(signal)) {
    for (const { namespace, kind, id, field } of page)
      report({ namespace, kind, documentId: idText(id), ...(field === '' ? {} : { field }) });
  }
  const others = await mapLimit(
    collections.filter((each) => !verifier.mismatches.counts.has(nsText(each.sourceNs))),
    PARALLEL,
    async (each, inner) => (await numberAndOrder(pair, each, inner)).map((detail) => ({ each, detail })),
    signal,
  );
  for (const { each, detail } of others.flat())
    report({ namespace: nsText(each.sourceNs), kind: each.capped ? 'order' : 'count', detail });
}

async function keepTelling(tell: () => void, signal: AbortSignal): Promise<void> {
  for (;;) {
    await sleep(PROGRESS_MS, signal);
    tell();
  }
}

/**
 * What became of a collection while the clusters were compared, if not all of it was: one that came into being, or
 * became another, or was not found in its place (`lost`).
 */
function changeOf(
  earlier: MigratedCollection | undefined,
  now: MigratedCollection,
  lost: ReadonlySet<string>,
): ClusterDifference | undefined {
  const namespace = nsText(now.sourceNs);
  const tell = (what: string): ClusterDifference => ({
    namespace,
    kind: 'unverified',
    detail: `${what} during the comparison, and is not compared: run the comparison again`,
  });
  if (earlier === undefined || !sameUuid(earlier.destinationUuid, now.destinationUuid)) return tell('was created');
  if (nsText(earlier.sourceNs) !== namespace) return tell(`was renamed from ${nsText(earlier.sourceNs)}`);
  return lost.has(now.id) ? tell('was renamed and renamed back') : undefined;
}

/**
 * Stands in for an applier whose progress is not known: a time counts as applied a while after it was asked for first,
 * or a later one was.
 */
function coolDown(): (time: Timestamp, signal: AbortSignal) => Promise<void> {
  let latest: { readonly time: Timestamp; readonly until: number } | undefined;
  return (time, signal) => {
    const now = performance.now();
    if (latest === undefined || time.greaterThan(latest.time)) latest = { time, until: now + COOL_DOWN_MS };
    return sleep(Math.max(0, latest.until - now), signal);
  };
}

function fixedCollections(collections: readonly MigratedCollection[]): VerifiedCollections {
  const byId = new Map(collections.map((each) => [each.id, each]));
  return { get: (id) => byId.get(id), live: () => [...collections], views: () => [] };
}

/** A ping's time: the change streams pass it by themselves, and nothing has to be written. */
async function takeTime(cluster: Cluster, signal: AbortSignal): Promise<Timestamp> {
  await cluster.read('asking for the time', 'admin', { ping: 1 }, signal);
  if (cluster.now === undefined) throw new InvariantError('a replica set answered without its time');
  return cluster.now;
}
