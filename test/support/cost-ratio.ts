/** Tells how much one piece of work costs against another, in one process. */

const ROUNDS = 9;

/** Milliseconds of the quickest of several rounds: whatever else the machine does only ever makes rounds longer. */
function quickest(works: readonly (() => void)[]): number[] {
  const best = works.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < ROUNDS; round++) {
    works.forEach((work, index) => {
      const begun = performance.now();
      work();
      best[index] = Math.min(best[index] ?? 0, performance.now() - begun);
    });
  }
  return best;
}

/** How many times as long `work` takes as `reference`: the quickest rounds of each, run in turn. */
export function costRatio(work: () => void, reference: () => void): number {
  const [ours = 0, theirs = 0] = quickest([work, reference]);
  return ours / theirs;
}

/** Tells a measured cost where MONGOFERRY_TEST_TELL_COSTS is set, for whoever sets a limit. */
export function tellCost(text: string): void {
  if (process.env['MONGOFERRY_TEST_TELL_COSTS'] !== undefined) process.stderr.write(`${text}\n`);
}
