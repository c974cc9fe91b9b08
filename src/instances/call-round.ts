/** Decides whether a call has been given to every instance. */
import type { GatheredEvent, GivenCall } from './records.js';

/** The calls that one instance has been given. */
export interface Called {
  readonly id: string;
  readonly calls: readonly GivenCall[];
}

/** Who has been given a call in a round, and who is waited for. */
export interface Gathered {
  readonly given: readonly string[];
  readonly missing: readonly string[];
  readonly isComplete: boolean;
}

/** Complete once every instance has it, or one of those whose calls count for all. */
export function gather(event: GatheredEvent, round: number, instances: readonly Called[]): Gathered {
  const callOf = ({ calls }: Called): GivenCall | undefined =>
    calls.find((each) => each.event === event && each.round === round);
  const given = instances.filter((each) => callOf(each) !== undefined).map(({ id }) => id);
  const missing = instances.filter((each) => callOf(each) === undefined).map(({ id }) => id);
  const isForAll = instances.some((each) => callOf(each)?.forAll === true);
  return { given, missing, isComplete: given.length > 0 && (isForAll || missing.length === 0) };
}

/** What progress says of a call that some instances have not been given yet; undefined when there is nothing to wait for. */
export function gatheringText(event: GatheredEvent, { given, missing, isComplete }: Gathered): string | undefined {
  if (given.length === 0 || isComplete) return undefined;
  return `${event} has been called on ${given.join(', ')}; it takes effect once it is called on ${missing.join(', ')}, too`;
}
