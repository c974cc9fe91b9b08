/** One measured figure, with what it is measured against. */
export interface Row {
  /** What is asked for on the command line. */
  readonly name: string;
  readonly what: string;
  /** Documents or events. */
  readonly size: number;
  readonly value: number;
  readonly unit: 's' | 'MiB';
  /** From the same run and the same servers; absent where the bar is absolute. */
  readonly floor?: { readonly what: string; readonly value: number };
  /** The bar: the most that `value / floor` may be, or without a floor `value`; `atLeast` turns it round. */
  readonly bar: number;
  /** The bar is the least that `floor / value` may be. */
  readonly atLeast?: boolean;
  /** Whether `value / size` tells something. */
  readonly perItem?: boolean;
}

/** The figure that the bar is for. */
export function figureOf({ value, floor, atLeast }: Row): number {
  if (floor === undefined) return value;
  return atLeast === true ? floor.value / value : value / floor.value;
}

/** Rows as a table for people, and below it how the cost of one document or event changes from size to size. */
export function reportText(rows: readonly Row[]): string {
  const header = ['bench', 'size', 'measured', 'floor', 'figure', 'bar', ''];
  const cells = rows.map((row) => [
    row.what,
    row.size.toLocaleString('en-US'),
    `${row.value.toFixed(2)} ${row.unit}`,
    row.floor === undefined ? '' : `${row.floor.value.toFixed(2)} ${row.unit} ${row.floor.what}`,
    row.floor === undefined ? row.value.toFixed(2) : `${figureOf(row).toFixed(2)} x`,
    row.floor === undefined
      ? `<= ${row.bar} ${row.unit}`
      : row.atLeast === true
        ? `>= ${row.bar} x`
        : `<= ${row.bar} x`,
    isWithin(row) ? 'within' : 'MISSED',
  ]);
  return [...alignedRows([header, ...cells]), '', ...scaling(rows)].join('\n');
}

function isWithin(row: Row): boolean {
  return row.atLeast === true ? figureOf(row) >= row.bar : figureOf(row) <= row.bar;
}

function alignedRows(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function scaling(rows: readonly Row[]): string[] {
  const lines: string[] = [];
  for (const what of new Set(rows.filter(({ perItem }) => perItem === true).map((row) => row.what))) {
    const [small, large] = rows.filter((row) => row.what === what).sort((a, b) => a.size - b.size);
    if (small === undefined || large === undefined) continue;
    const change = large.value / large.size / (small.value / small.size);
    const each = (row: Row) => `${((row.value * 1e6) / row.size).toFixed(1)} µs at ${row.size.toLocaleString('en-US')}`;
    lines.push(`${what}, each: ${each(small)}, ${each(large)}: ${change.toFixed(2)} x`);
  }
  return lines;
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
