import type { NamespaceProgress, ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { bar, bytes, count, duration, percent } from './units.js';

const BUSIEST = 5;
const MAX_NAME = 40;
const label = (text: string): string => text.padEnd(9);

/** A snapshot as lines for a terminal of `columns` characters: a bar per phase, then the busiest namespaces. Pure. */
export function progressScreen(snapshot: ProgressSnapshot, columns: number): string[] {
  const barWidth = Math.max(10, Math.min(40, columns - 60));
  const failure = snapshot.details?.failure;
  const lines = [
    headline(snapshot),
    ...copyLine(snapshot, barWidth),
    ...indexLine(snapshot, barWidth),
    ...applyLine(snapshot),
    ...verificationLine(snapshot, barWidth),
    ...(snapshot.details?.commitObstacle === undefined
      ? []
      : [`${label('commit')} not yet: ${snapshot.details.commitObstacle}`]),
    ...namespaceLines(snapshot.details?.namespaces ?? [], Math.ceil(barWidth / 2)),
    ...snapshot.warnings.map((warning) => `${label('warning')} ${warning}`),
    ...(failure === undefined ? [] : [`${label('FAILED')} ${failure.error}: ${failure.errorDescription}`]),
  ];
  // A line that wraps would be drawn over wrongly.
  return lines.map((line) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line));
}

/** A snapshot as one plain line, for pipes and log files. Pure; equal snapshots give equal lines. */
export function progressLine(snapshot: ProgressSnapshot): string {
  const { collectionCopy, indexBuilding, totalEventsApplied, warnings, details } = snapshot;
  const parts = [headline(snapshot)];
  if (collectionCopy !== undefined) {
    const { estimatedCopiedBytes: copied, estimatedTotalBytes: total } = collectionCopy;
    parts.push(
      `copied ${bytes(copied)}${total === undefined ? '' : ` of ${bytes(total)} (${percent(copied, total).trim()})`}`,
    );
  }
  if (indexBuilding !== undefined)
    parts.push(`indexes ${indexBuilding.indexesBuilt} of ${indexBuilding.totalIndexesToBuild}`);
  if (totalEventsApplied !== undefined) parts.push(`changes ${count(totalEventsApplied)}`);
  const hashing = hashingText(snapshot);
  if (hashing !== undefined) parts.push(hashing);
  if (details?.commitObstacle !== undefined) parts.push(`no commit yet: ${details.commitObstacle}`);
  if (warnings.length > 0) parts.push(`warnings ${warnings.length}`);
  if (details?.failure !== undefined)
    parts.push(`FAILED ${details.failure.error}: ${details.failure.errorDescription}`);
  return parts.join(' | ');
}

function headline({
  state,
  info,
  ceaStage,
  lagTimeSeconds,
  canCommit,
  canWrite,
  directionMapping,
}: ProgressSnapshot): string {
  const parts = [state];
  if (info !== undefined) parts.push(ceaStage === undefined ? info : `${info} (${ceaStage})`);
  if (directionMapping !== undefined) parts.push(`${directionMapping.source} to ${directionMapping.destination}`);
  if (lagTimeSeconds !== undefined) parts.push(`lag ${duration(lagTimeSeconds)}`);
  if (canCommit) parts.push('can commit');
  if (canWrite) parts.push('can write');
  return parts.join(', ');
}

function copyLine({ collectionCopy, details }: ProgressSnapshot, barWidth: number): string[] {
  if (collectionCopy === undefined) return [];
  const { estimatedCopiedBytes: copied, estimatedTotalBytes: total } = collectionCopy;
  if (total === undefined) return [`${label('copy')} ${bytes(copied)}`];
  const parts = [
    `${label('copy')} ${bar(copied, total, barWidth)} ${percent(copied, total)} ${bytes(copied)} of ${bytes(total)}`,
  ];
  if (copied < total && details?.rates !== undefined) parts.push(`${bytes(details.rates.bytesPerSecond)}/s`);
  if (copied < total && details?.copyRemainingSeconds !== undefined)
    parts.push(`${duration(details.copyRemainingSeconds)} left`);
  return [parts.join(', ')];
}

function indexLine({ indexBuilding }: ProgressSnapshot, barWidth: number): string[] {
  if (indexBuilding === undefined) return [];
  const { indexesBuilt: built, totalIndexesToBuild: total } = indexBuilding;
  return [`${label('indexes')} ${bar(built, total, barWidth)} ${percent(built, total)} ${built} of ${total}`];
}

function applyLine(snapshot: ProgressSnapshot): string[] {
  const { totalEventsApplied, details, estimatedSecondsToCeaCatchup, estimatedOplogTimeRemaining } = snapshot;
  if (totalEventsApplied === undefined) return [];
  const parts = [`${label('changes')} ${count(totalEventsApplied)} applied`];
  if (details?.rates !== undefined) parts.push(`${count(details.rates.eventsPerSecond)}/s`);
  if (estimatedSecondsToCeaCatchup !== undefined) parts.push(`caught up in ${duration(estimatedSecondsToCeaCatchup)}`);
  if (estimatedOplogTimeRemaining !== undefined) parts.push(`oplog lasts ${estimatedOplogTimeRemaining}`);
  return [parts.join(', ')];
}

function verificationLine(snapshot: ProgressSnapshot, barWidth: number): string[] {
  const source = snapshot.verification?.source;
  const text = hashingText(snapshot);
  if (source === undefined || text === undefined) return [];
  const { estimatedDocumentCount: total, hashedDocumentCount: hashed } = source;
  return [`${label('verify')} ${bar(hashed, total, barWidth)} ${percent(hashed, total)} ${text}`];
}

/** What the verifier does, on the side that is further behind, and how many documents differ. */
function hashingText({ verification, details }: ProgressSnapshot): string | undefined {
  const { source, destination } = verification ?? {};
  if (source === undefined || destination === undefined) return undefined;
  const parts = [`verification ${source.phase}`];
  if (source.phase === 'initial hashing')
    parts.push(`${count(source.hashedDocumentCount)} of ${count(source.estimatedDocumentCount)} documents`);
  const lag = Math.max(source.lagTimeSeconds ?? 0, destination.lagTimeSeconds ?? 0);
  if (lag > 0) parts.push(`lag ${duration(lag)}`);
  const differing = details?.mismatchCount ?? 0;
  if (differing > 0) parts.push(`${count(differing)} documents differ`);
  return parts.join(', ');
}

/** Those with the most left to copy; none once everything is. */
function namespaceLines(namespaces: readonly NamespaceProgress[], barWidth: number): string[] {
  const left = (item: NamespaceProgress): number => Math.max(0, item.estimatedBytes - item.bytesCopied);
  const busiest = namespaces
    .filter((item) => item.partitionsDone < item.partitionsTotal)
    .sort((a, b) => left(b) - left(a))
    .slice(0, BUSIEST);
  const width = Math.min(MAX_NAME, Math.max(0, ...busiest.map(({ namespace }) => namespace.length)));
  return busiest.map(({ namespace, bytesCopied, estimatedBytes, documentsCopied, estimatedDocuments }) => {
    const name = namespace.length > width ? `${namespace.slice(0, width - 1)}…` : namespace.padEnd(width);
    const documents = `${count(documentsCopied)} of ${count(estimatedDocuments)} documents`;
    return `  ${name} ${bar(bytesCopied, estimatedBytes, barWidth)} ${documents}`;
  });
}
