/**
 * Puts the results of the bench into docs/: the file as it is, a table in docs/performance.md, and a chart.
 *
 *   node scripts/draw-bench.mjs [results.json]
 *
 * Without a file: build/bench-results.json, or docs/bench-results.json where there is none.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const KEPT = 'docs/bench-results.json';
const BUILT = 'build/bench-results.json';
const PAGE = 'docs/performance.md';
const CHART = 'docs/bench.svg';
const BEGIN = '<!-- bench: written by `make bench-docs` -->';
const END = '<!-- bench: end -->';

const from = process.argv[2] ?? (existsSync(BUILT) ? BUILT : KEPT);
const results = JSON.parse(readFileSync(from, 'utf8'));

/** Three digits or so. */
function short(value) {
  if (value === null || Number.isNaN(value)) return '–';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

const isRatio = ({ floor, absolute }) => floor !== undefined && absolute !== true;
const signOf = (result) => (isRatio(result) ? '×' : result.unit);
const isWithin = ({ figure, bar, atLeast }) => (atLeast ? figure.median >= bar : figure.median <= bar);

/** What the ratio would be if all cores had worked all the time: processor time, over the cores and the floor. */
function byProcessors(result) {
  const { cpu, floor, cores, unit, atLeast } = result;
  if (cpu === undefined || !isRatio(result) || unit !== 's' || atLeast) return [];
  const ratio = (seconds) => `${short(seconds / cores / floor.value.median)} ×`;
  const servers = cpu.source + cpu.destination;
  return [`processors alone ${ratio(cpu.own + servers)}, of these the servers' ${ratio(servers)}`];
}

function cellsOf(result) {
  const { row, what, size, sizeUnit, value, unit, floor, figure, bar, atLeast, cpu, more = {} } = result;
  const sign = signOf(result);
  const extras = Object.entries(more).map(([name, number]) => `${name} ${short(number)}`);
  return [
    row,
    `${what}, ${size.toLocaleString('en-US')} ${sizeUnit}`,
    `${short(value.median)} ${unit}`,
    floor === undefined ? '' : `${short(floor.value.median)} ${unit} (${floor.what})`,
    `${short(figure.median)} ${sign} (${short(figure.least)}–${short(figure.most)})`,
    bar === undefined ? '' : `${atLeast ? '≥' : '≤'} ${bar} ${sign}${isWithin(result) ? '' : ', **missed**'}`,
    cpu === undefined ? '' : [cpu.own, cpu.source, cpu.destination].map(short).join(' / '),
    [...byProcessors(result), ...extras].join(', '),
  ];
}

const HEADER = [
  'row',
  'what',
  'measured',
  'floor',
  'figure (spread)',
  'bar',
  'CPU s: own / source / destination',
  'besides',
];

function table() {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(HEADER), line(HEADER.map(() => '---')), ...results.map((result) => line(cellsOf(result)))].join('\n');
}

function circumstances() {
  const { model, cores, memoryGiB, node, mongod } = results[0];
  const all = (name) => [...new Set(results.map((result) => result[name]))];
  const dates = all('at').map((at) => at.slice(0, 10));
  const loads = all('load').map(Number);
  const busy = `${short(Math.min(...loads))} to ${short(Math.max(...loads))} processes of others and of the bench`;
  return [
    `Measured on ${[...new Set(dates)].join(', ')}, commit ${all('commit').join(', ')}, sizes: ${all('extent').join(', ')};`,
    `${cores} cores (${model.trim() || 'unknown'}), ${memoryGiB} GiB, Node.js ${node}, mongod ${mongod};`,
    `load of the machine before a row: ${busy}.`,
  ].join('\n');
}

const WIDTH = 900;
const LEFT = 330;
const RIGHT = 150;
const STEP = 22;
/** So many times the bar fill the chart's width. */
const MOST = 4;

/** How far it is from its bar: 1 is at it, more is worse. */
function distance({ figure, bar, atLeast }) {
  return atLeast ? bar / figure.median : figure.median / bar;
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function barOf(result, index) {
  const y = 46 + index * STEP;
  const scale = (times) => (Math.min(MOST, times) / MOST) * (WIDTH - LEFT - RIGHT);
  const times = distance(result);
  const size = `${result.size.toLocaleString('en-US')} ${result.sizeUnit}`;
  const label = escaped(`${result.row}: ${result.what}`);
  const value = `${short(result.figure.median)} ${signOf(result)} (bar ${result.bar})`;
  return [
    `<text x="${LEFT - 8}" y="${y + 12}" text-anchor="end">${label}<title>${escaped(size)}</title></text>`,
    `<rect x="${LEFT}" y="${y}" width="${scale(times).toFixed(1)}" height="15" fill="${times <= 1 ? '#2a7f62' : '#c8553d'}"/>`,
    `<text x="${(LEFT + scale(times) + 6).toFixed(1)}" y="${y + 12}">${escaped(value)}</text>`,
  ].join('\n');
}

/** Of each figure with a bar, its largest size. */
function chart() {
  const barred = results.filter(({ bar }) => bar !== undefined);
  const key = ({ row, what }) => `${row} ${what}`;
  const largest = barred.filter((each) => !barred.some((other) => key(other) === key(each) && other.size > each.size));
  const height = 60 + largest.length * STEP;
  const atBar = LEFT + (WIDTH - LEFT - RIGHT) / MOST;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    '<title>Each figure of the bench against its bar</title>',
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    `<text x="${LEFT}" y="18" font-size="14">Each figure against its bar (the line); shorter is better</text>`,
    ...largest.map(barOf),
    `<line x1="${atBar}" x2="${atBar}" y1="28" y2="${height - 10}" stroke="#222222" stroke-dasharray="4 3"/>`,
    '</svg>\n',
  ].join('\n');
}

const page = readFileSync(PAGE, 'utf8');
const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
if (begin < 0 || end < begin) throw new Error(`${PAGE} has no place for the table`);
writeFileSync(PAGE, `${page.slice(0, begin)}${BEGIN}\n${circumstances()}\n\n${table()}\n${page.slice(end)}`);
writeFileSync(CHART, chart());
writeFileSync(KEPT, `${JSON.stringify(results, undefined, 2)}\n`);
