/** Draws a progress snapshot as a screen for a terminal, or as one plain line. */
import type { InstanceProgress, NamespaceProgress, ProgressSnapshot } from '../../gen/mongoferry/v1/progress.js';
import { bar, bytes, count, duration, percent } from './units.js';

const BUSIEST = 5;
const MAX_NAME = 40;
const label = (text: string): string => text.padEnd(9);

/**
 * A snapshot as lines of at most `columns` characters: a bar per phase, then the busiest namespaces. On a terminal what
 * does not fit is cut, so what matters most stands first, and there is a line for the time: for that `now` is given. Pure.
 */
export function progressScreen(snapshot: ProgressSnapshot, columns: number, now?: Date): string[] {
  const barWidth = Math.max(10, Math.min(40, columns - 60));
  const failure = snapshot.details?.failure;
  const lines = [
    headline(snapshot, { forTerminal: now !== undefined }),
    ...(now === undefined ? [] : timeLine(snapshot, now)),
    ...copyLine(snapshot, barWidth),
    ...indexLine(snapshot, barWidth),
    ...verifyLine(snapshot, barWidth),
    ...applyLine(snapshot),
    ...obstacleLine(snapshot),
    ...namespaceLines(snapshot.details?.namespaces ?? [], Math.ceil(barWidth / 2)),
    ...instanceLines(snapshot.details?.instances ?? []),
    ...snapshot.warnings.map((warning) => `${label('warning')} ${warning}`),
    ...(failure === undefined ? [] : [`${label('FAILED')} ${failure.error}: ${failure.errorDescription}`]),
  ];
  // A line that wraps would be drawn over wrongly.
  return lines.map((line) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line));
}

/** A snapshot as one plain line, for pipes and log files. Pure; equal snapshots give equal lines. */
export function progressLine(snapshot: ProgressSnapshot): string {
  const { state, collectionCopy, indexBuilding, verification, totalEventsApplied, warnings, details } = snapshot;
  const parts = [headline(snapshot, { forTerminal: false })];
  if (collectionCopy !== undefined) {
    const { estimatedCopiedBytes: copied, estimatedTotalBytes: total } = collectionCopy;
    parts.push(
      `copied ${bytes(copied)}${total === undefined ? '' : ` of ${bytes(total)} (${percent(copied, total).trim()})`}`,
    );
  }
  if (indexBuilding !== undefined)
    parts.push(`indexes ${indexBuilding.indexesBuilt} of ${indexBuilding.totalIndexesToBuild}`);
  const verified = verification?.source;
  if (verified !== undefined && verified.phase !== 'not started')
    parts.push(`verified ${count(verified.hashedDocumentCount)} of ${count(verified.estimatedDocumentCount)}`);
  if (details !== undefined && details.mismatchCount > 0) parts.push(`differing ${count(details.mismatchCount)}`);
  if (totalEventsApplied !== undefined) parts.push(`changes ${count(totalEventsApplied)}`);
  if (state === 'INITIALIZING' && warnings.length > 0) parts.push(`waits: ${warnings.join('; ')}`);
  else if (warnings.length > 0) parts.push(`warnings ${warnings.length}`);
  if (details?.failure !== undefined)
    parts.push(`FAILED ${details.failure.error}: ${details.failure.errorDescription}`);
  return parts.join(' | ');
}

/** The state, what it is at, and how it stands. On a terminal what may be cut off stands last. */
function headline(snapshot: ProgressSnapshot, { forTerminal }: { readonly forTerminal: boolean }): string {
  const { state, info, ceaStage, lagTimeSeconds, canCommit, canWrite, directionMapping } = snapshot;
  const stage = info === undefined ? [] : [ceaStage === undefined ? info : `${info} (${ceaStage})`];
  const clusters =
    directionMapping === undefined ? [] : [`${directionMapping.source} to ${directionMapping.destination}`];
  const standing = [
    ...(lagTimeSeconds === undefined ? [] : [`lag ${duration(lagTimeSeconds)}`]),
    ...(canCommit ? ['can commit'] : []),
    ...(canWrite ? ['can write'] : []),
  ];
  const parts = forTerminal ? [...standing, ...stage, ...clusters] : [...stage, ...clusters, ...standing];
  return [state, ...parts].join(', ');
}

/** How long it has taken, and how long the phases will take whose end can be told. */
function timeLine(
  { state, details, canWrite, estimatedSecondsToCeaCatchup: catchUp }: ProgressSnapshot,
  now: Date,
): string[] {
  const startedAt = details?.startedAt;
  if (startedAt === undefined || state === 'IDLE' || state === 'INITIALIZING' || canWrite) return [];
  const elapsed = (now.getTime() - startedAt.getTime()) / 1000;
  const copy = details?.copyRemainingSeconds;
  const left = copy === undefined && catchUp === undefined ? undefined : (copy ?? 0) + (catchUp ?? 0);
  return [`${label('time')} ${duration(elapsed)}${left === undefined ? '' : `, about ${duration(left)} left`}`];
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

function verifyLine({ verification, details }: ProgressSnapshot, barWidth: number): string[] {
  const source = verification?.source;
  if (source === undefined || source.phase === 'not started') return [];
  const { hashedDocumentCount: hashed, estimatedDocumentCount: total } = source;
  const found = details?.mismatchCount ?? 0;
  const differ = found === 0 ? '' : `, ${count(found)} differ`;
  const documents = `${count(hashed)} of ${count(total)} documents, ${source.phase}${differ}`;
  return [`${label('verified')} ${bar(hashed, total, barWidth)} ${percent(hashed, total)} ${documents}`];
}

/** Why a commit would have to wait, where that is not plain from the other lines. */
function obstacleLine({ details }: ProgressSnapshot): string[] {
  return details?.commitObstacle === undefined ? [] : [`${label('commit')} must wait: ${details.commitObstacle}`];
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

/** Of several instances; none where there is one. */
function instanceLines(instances: readonly InstanceProgress[]): string[] {
  return instances.map(({ id, state, bytesCopied, rangesInWork, eventsApplied }) => {
    const work = rangesInWork === 0 ? '' : `, ${count(rangesInWork)} ranges in work`;
    const changes = eventsApplied === 0 ? '' : `, ${count(eventsApplied)} changes applied`;
    return `${label('instance')} ${id}: ${state}, ${bytes(bytesCopied)} copied${changes}${work}`;
  });
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
