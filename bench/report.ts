/** Prints results as a table. */
import { isRatio, isWithin, type Result, type Spread } from './figures.js';

const HEADER = ['row', 'what', 'size', 'measured', 'floor', 'figure (spread)', 'bar', '', 'CPU s: own, source, dest.'];

/** Results as a table for people, and below it how the cost of one item changes from size to size. */
export function reportText(results: readonly Result[]): string {
  return [...alignedRows([HEADER, ...results.map(cells)]), '', ...scaling(results)].join('\n');
}

function cells(result: Result): string[] {
  const { row, what, size, value, unit, floor, figure, bar, atLeast, cpu, more = {} } = result;
  const sign = isRatio(result) ? 'x' : unit;
  const extra = Object.entries(more).map(([name, number]) => `${name} ${short(number)}`);
  return [
    row,
    what,
    size.toLocaleString('en-US'),
    `${short(value.median)} ${unit}`,
    floor === undefined ? '' : `${short(floor.value.median)} ${unit} ${floor.what}`,
    `${short(figure.median)} ${sign} (${range(figure)})`,
    bar === undefined ? '' : `${atLeast === true ? '>=' : '<='} ${bar} ${sign}`,
    bar === undefined ? '' : isWithin(result) ? 'within' : 'MISSED',
    [...(cpu ? [[cpu.own, cpu.source, cpu.destination].map(short).join(', ')] : []), ...extra].join('; '),
  ];
}

function range({ least, most }: Spread): string {
  return `${short(least)} to ${short(most)}`;
}

/** Three digits or so. */
export function short(value: number): string {
  if (Number.isNaN(value)) return '?';
  return value.toFixed(Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);
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

function scaling(results: readonly Result[]): string[] {
  const seconds = results.filter((result) => result.unit === 's' && isRatio(result));
  return [...new Set(seconds.map(({ row, what }) => `${row}, ${what}`))].flatMap((name) => {
    const [small, large] = seconds.filter(({ row, what }) => `${row}, ${what}` === name);
    if (small === undefined || large === undefined) return [];
    const each = ({ value, size }: Result) => (value.median * 1e6) / size;
    const text = (result: Result) => `${short(each(result))} µs at ${result.size.toLocaleString('en-US')}`;
    return [`${name}, each: ${text(small)}, ${text(large)}: ${(each(large) / each(small)).toFixed(2)} x`];
  });
}
