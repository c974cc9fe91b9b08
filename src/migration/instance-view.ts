/** Makes what progress shows of several instances, and what the coordinator tells the others to show. */
import { gatheringText } from '../instances/call-round.js';
import type { Crew } from '../instances/crew.js';
import type { Member } from '../instances/member.js';
import type { InstanceSnapshot, NamespaceSnapshot, Snapshot } from '../progress/control.js';

/** What the coordinator tells, as plain data. */
export interface ToldStatus {
  readonly snapshot: Snapshot;
  /** Some of them: those that are most in need of being seen. */
  readonly namespaces: readonly NamespaceSnapshot[];
}

const MAX_NAMESPACES = 500;

/** All instances, this one first; none while it is alone and always was. */
export function instancesOf(crew: Crew, own: string, isPaused: boolean): readonly InstanceSnapshot[] {
  if (crew.members.length === 0) return [];
  const self: InstanceSnapshot = {
    ...{ id: own, state: isPaused ? 'paused' : 'coordinating', alive: true },
    ...shownTotals(crew.ownTotals),
    rangesInWork: crew.tasksOf(undefined),
  };
  return [self, ...crew.members.map((each) => memberSnapshot(crew, each))];
}

function memberSnapshot(crew: Crew, { id, isAlive, record, totals }: Member): InstanceSnapshot {
  return {
    ...{ id, state: !isAlive ? 'gone' : record?.isPaused === true ? 'paused' : 'helping', alive: isAlive },
    ...shownTotals(totals),
    rangesInWork: crew.tasksOf(id),
  };
}

type ShownTotals = Pick<InstanceSnapshot, 'documentsCopied' | 'bytesCopied' | 'documentsCompared' | 'eventsApplied'>;

function shownTotals({ documents, bytes, compared, applied }: Crew['ownTotals']): ShownTotals {
  return { documentsCopied: documents, bytesCopied: bytes, documentsCompared: compared, eventsApplied: applied };
}

/** Warnings of calls that some instances have not been given yet. */
export function gatheringTexts(crew: Crew): readonly string[] {
  return (['commit', 'reverse'] as const)
    .map((event) => gatheringText(event, crew.gathered(event)))
    .filter((text) => text !== undefined);
}

/** What the others are told. */
export function statusOf(snapshot: Snapshot, namespaces: readonly NamespaceSnapshot[]): ToldStatus {
  const left = (one: NamespaceSnapshot): number => one.estimatedBytes - one.bytesCopied;
  const urgent = [...namespaces].sort((a, b) => b.mismatchCount - a.mismatchCount || left(b) - left(a));
  return { snapshot, namespaces: urgent.slice(0, MAX_NAMESPACES) };
}
