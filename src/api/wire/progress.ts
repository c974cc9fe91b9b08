/** Encodes snapshots as progress messages. */
import {
  type InstanceProgress,
  type NamespaceProgress,
  type ProgressDetails,
  ProgressSnapshot,
  type VerifierSide,
} from '../../../gen/mongoferry/v1/progress.js';
import { GetProgressResponse, NamespaceDetails, ProgressResponse } from '../../../gen/mongoferry/v1/sync_service.js';
import type { InstanceSnapshot, NamespaceSnapshot, Snapshot, VerificationSnapshot } from '../../progress/control.js';
import type { Violations } from '../violations.js';

/** How many namespaces `BUSIEST` means. */
const BUSIEST_COUNT = 50;

/** Which namespaces a snapshot's details are to hold. */
export type DetailsChoice = 'none' | 'busiest' | 'all';

/** The request's `details`. */
export function readDetails(details: NamespaceDetails, violations: Violations): DetailsChoice {
  switch (details) {
    case NamespaceDetails.NONE:
      return 'none';
    case NamespaceDetails.UNSPECIFIED:
    case NamespaceDetails.BUSIEST:
      return 'busiest';
    case NamespaceDetails.ALL:
      return 'all';
    default:
      violations.add('details', 'must be one of NONE, BUSIEST, ALL');
      return 'none';
  }
}

/** What one progress message is made of. */
export interface ProgressSource {
  readonly snapshot: Snapshot;
  /** In the order of their names. */
  readonly namespaces: readonly NamespaceSnapshot[];
  readonly details: DetailsChoice;
}

/** An encoded ProgressResponse. */
export function encodeProgressResponse(source: ProgressSource): Uint8Array {
  return ProgressResponse.encode({ progress: toProgress(source) }).finish();
}

/** An encoded GetProgressResponse. */
export function encodeGetProgressResponse(source: ProgressSource): Uint8Array {
  return GetProgressResponse.encode({ progress: toProgress(source) }).finish();
}

function toProgress(source: ProgressSource): ProgressSnapshot {
  const { state, canCommit, canWrite, instanceId, coordinatorId, warnings, failure } = source.snapshot;
  const known = ProgressSnapshot.create({
    state,
    canCommit,
    canWrite,
    mongosyncId: instanceId,
    coordinatorId,
    warnings: [...warnings],
  });
  // mongosync's clients take null for "no migration": nothing else may stand there in IDLE.
  return state === 'IDLE' && failure === undefined ? known : { ...known, ...toMigrationFields(source) };
}

function toMigrationFields(source: ProgressSource): Partial<ProgressSnapshot> {
  const { snapshot } = source;
  const { direction } = snapshot;
  return {
    info: snapshot.info,
    ceaStage: snapshot.ceaStage,
    ...toLag(snapshot),
    totalEventsApplied: optionalInt(snapshot.totalEventsApplied),
    collectionCopy: snapshot.copy && {
      estimatedTotalBytes: optionalInt(snapshot.copy.totalBytes),
      estimatedCopiedBytes: int(snapshot.copy.copiedBytes),
    },
    indexBuilding: snapshot.indexBuilding && {
      indexesBuilt: int(snapshot.indexBuilding.built),
      totalIndexesToBuild: int(snapshot.indexBuilding.total),
      collectionsFinished: int(snapshot.indexBuilding.collectionsFinished),
      collectionsTotal: int(snapshot.indexBuilding.collectionsTotal),
    },
    directionMapping: direction && { source: direction.source, destination: direction.destination },
    source: direction && { pingLatencyMs: optionalInt(snapshot.sourcePingMs) },
    destination: direction && { pingLatencyMs: optionalInt(snapshot.destinationPingMs) },
    verification: snapshot.verification && {
      source: toVerifierSide(snapshot.verification.source),
      destination: toVerifierSide(snapshot.verification.destination),
    },
    estimatedOplogTimeRemaining: snapshot.oplogTimeRemaining,
    estimatedSecondsToCeaCatchup: optionalInt(snapshot.secondsToCatchup),
    details: toDetails(source),
  };
}

/** Nothing is applied while paused, so that a lag would only grow: null, as in mongosync. */
function toLag({ state, lag }: Snapshot): Partial<ProgressSnapshot> {
  if (lag === undefined || state === 'PAUSED') return {};
  return {
    lagTimeSeconds: optionalInt(lag.overallSeconds),
    lag: {
      overallLagSeconds: optionalInt(lag.overallSeconds),
      crudLagSeconds: optionalInt(lag.crudSeconds),
      ddlLagSeconds: optionalInt(lag.ddlSeconds),
    },
  };
}

function toVerifierSide(side: VerificationSnapshot['source']): VerifierSide {
  return {
    phase: side.phase,
    estimatedDocumentCount: int(side.estimatedDocuments),
    hashedDocumentCount: int(side.hashedDocuments),
    totalCollectionCount: int(side.collections),
    scannedCollectionCount: int(side.scannedCollections),
    lagTimeSeconds: optionalInt(side.lagSeconds),
  };
}

function toDetails({ snapshot, namespaces, details }: ProgressSource): ProgressDetails {
  const { failure, rates } = snapshot;
  return {
    rates: {
      documentsPerSecond: rates.documentsPerSecond,
      bytesPerSecond: rates.bytesPerSecond,
      eventsPerSecond: rates.eventsPerSecond,
    },
    copyRemainingSeconds: optionalInt(snapshot.copyRemainingSeconds),
    namespaces: choose(namespaces, details).map(toNamespaceProgress),
    totalNamespaces: namespaces.length,
    failure: failure && { error: failure.error, errorDescription: failure.description, failedAt: failure.at },
    startedAt: snapshot.startedAt,
    queuedBytes: int(snapshot.queuedBytes),
    retries: int(snapshot.retries),
    mismatchCount: int(snapshot.verification?.mismatchCount ?? 0),
    commitObstacle: snapshot.commitObstacle,
    instances: (snapshot.instances ?? []).map(toInstanceProgress),
  };
}

function toInstanceProgress(one: InstanceSnapshot): InstanceProgress {
  return {
    id: one.id,
    state: one.state,
    alive: one.alive,
    documentsCopied: int(one.documentsCopied),
    bytesCopied: int(one.bytesCopied),
    documentsCompared: int(one.documentsCompared),
    rangesInWork: int(one.rangesInWork),
    eventsApplied: int(one.eventsApplied),
  };
}

function choose(namespaces: readonly NamespaceSnapshot[], details: DetailsChoice): readonly NamespaceSnapshot[] {
  switch (details) {
    case 'none':
      return [];
    case 'busiest':
      return busiest(namespaces, BUSIEST_COUNT);
    case 'all':
      return [...namespaces].sort(byUrgency);
  }
}

/** The `count` most urgent ones, most first. Does not sort them all: there may be 50,000, every second. */
function busiest(namespaces: readonly NamespaceSnapshot[], count: number): NamespaceSnapshot[] {
  const top: NamespaceSnapshot[] = [];
  for (const one of namespaces) {
    const last = top.at(-1);
    if (top.length === count && last !== undefined && byUrgency(last, one) <= 0) continue;
    const before = top.findIndex((other) => byUrgency(other, one) > 0);
    top.splice(before < 0 ? top.length : before, 0, one);
    if (top.length > count) top.pop();
  }
  return top;
}

/** Those with most mismatches first, then those with most bytes left to copy. */
function byUrgency(a: NamespaceSnapshot, b: NamespaceSnapshot): number {
  return b.mismatchCount - a.mismatchCount || bytesLeft(b) - bytesLeft(a);
}

function bytesLeft(one: NamespaceSnapshot): number {
  return one.estimatedBytes - one.bytesCopied;
}

/** A namespace's copy as its message. */
export function toNamespaceProgress(one: NamespaceSnapshot): NamespaceProgress {
  return {
    namespace: one.namespace,
    documentsCopied: int(one.documentsCopied),
    estimatedDocuments: int(one.estimatedDocuments),
    bytesCopied: int(one.bytesCopied),
    estimatedBytes: int(one.estimatedBytes),
    partitionsDone: int(one.partitionsDone),
    partitionsTotal: int(one.partitionsTotal),
    indexesBuilt: int(one.indexesBuilt),
    indexesTotal: int(one.indexesTotal),
    documentsHashed: int(one.documentsHashed),
    mismatchCount: int(one.mismatchCount),
  };
}

function optionalInt(value: number | undefined): number | undefined {
  return value === undefined ? undefined : int(value);
}

/** A number that an int64 field and a JSON reader can both hold: the encoder throws on any other. */
function int(value: number): number {
  const whole = Math.trunc(value);
  if (Number.isNaN(whole)) return 0;
  return Math.min(Math.max(whole, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
}
