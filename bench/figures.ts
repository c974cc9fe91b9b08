/** What a bench measures, and what several repetitions of it say together. */

/** Processor time by process, in seconds. */
export interface Cpu {
  readonly own: number;
  readonly source: number;
  readonly destination: number;
}

export type Unit = 's' | 'ms' | 'MiB' | '%' | 'CPU s/min';

/** One measured figure, with what it is measured against. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: Unit;
  /** From the same run and the same machine; without it the bar is for the value. */
  readonly floor?: { readonly what: string; readonly value: number };
  /** The most that `value / floor` may be, or `value` where `absolute` or without a floor. Absent: told only. */
  readonly bar?: number;
  /** The bar is the least that `floor / value` may be. */
  readonly atLeast?: boolean;
  /** The bar is for the value; the floor is told beside it. */
  readonly absolute?: boolean;
  readonly cpu?: Cpu;
  /** What else is told, by name. */
  readonly more?: Readonly<Record<string, number>>;
}

/** The median of several repetitions, and the least and the most. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** What all repetitions of one row at one size say of one figure. */
export interface Result extends Omit<Figure, 'value' | 'floor'> {
  readonly row: string;
  readonly size: number;
  readonly repetitions: number;
  readonly value: Spread;
  readonly floor?: { readonly what: string; readonly value: Spread };
  /** What the bar is for. */
  readonly figure: Spread;
}

/** What the bar is for: a ratio, or the value. */
export function figureOf({ value, floor, atLeast, absolute }: Figure): number {
  if (floor === undefined || absolute === true) return value;
  return atLeast === true ? floor.value / value : value / floor.value;
}

/** Whether the median of what the bar is for keeps to it; true without a bar. */
export function isWithin({ figure, bar, atLeast }: Result): boolean {
  if (bar === undefined) return true;
  return atLeast === true ? figure.median >= bar : figure.median <= bar;
}

/** Whether the figure is a ratio to its floor. */
export function isRatio({ floor, absolute }: Result): boolean {
  return floor !== undefined && absolute !== true;
}

/** Puts the repetitions of a row at one size together, figure by figure. */
export function combine(row: string, size: number, runs: readonly (readonly Figure[])[]): Result[] {
  return (runs[0] ?? []).map((first) => {
    const all = runs.flatMap((run) => run.filter(({ what }) => what === first.what));
    const floors = all.flatMap(({ floor }) => (floor === undefined ? [] : [floor.value]));
    const { value: _value, floor, cpu, more, ...rest } = first;
    return {
      row,
      size,
      repetitions: all.length,
      ...rest,
      value: spread(all.map(({ value }) => value)),
      ...(floor && { floor: { what: floor.what, value: spread(floors) } }),
      figure: spread(all.map(figureOf)),
      ...(cpu && { cpu: medians(all.map((each) => ({ ...each.cpu }))) as unknown as Cpu }),
      ...(more && { more: medians(all.map((each) => ({ ...each.more }))) }),
    };
  });
}

function medians(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const names = Object.keys(all[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, spread(all.map((each) => each[name] ?? 0)).median]));
}

/** Median, least and most of some numbers. */
export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const median = (at(Math.floor((sorted.length - 1) / 2)) + at(Math.ceil((sorted.length - 1) / 2))) / 2;
  return { median, least: Math.min(...values), most: Math.max(...values) };
}

/** The value that so many of a hundred do not exceed; NaN of none. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const index = Math.ceil((sorted.length * percent) / 100) - 1;
  return sorted[Math.max(0, Math.min(sorted.length - 1, index))] ?? Number.NaN;
}

/** Seconds that `work` takes, and what it gives. */
export async function timed<T>(work: () => Promise<T>): Promise<{ seconds: number; result: T }> {
  const begun = performance.now();
  const result = await work();
  return { seconds: (performance.now() - begun) / 1000, result };
}

/** Tells on stderr what is being done, so that stdout holds the results alone. */
export function progress(text: string): void {
  console.error(`  ${text}`);
}
