/** Prints the demo's lines, progress and tables. */
import type { ProgressSnapshot } from '../gen/mongoferry/v1/progress.js';
import { progressLine, progressScreen } from '../src/cli/progress-view.js';

const terminal = process.stdout.isTTY;
const started = performance.now();

/** A line of what happens now, with the seconds since the beginning. */
export function say(text: string): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(5);
  console.log(`${seconds} s  ${text}`);
}

/** Shows snapshots one over the other on a terminal, and as a line a second where the output is piped. */
export class LiveProgress {
  #drawn = 0;
  #lastLineAt = Number.NEGATIVE_INFINITY;

  show(snapshot: ProgressSnapshot): void {
    if (terminal) this.#draw(progressScreen(snapshot, process.stdout.columns ?? 80, new Date()));
    else if (performance.now() - this.#lastLineAt >= 1000) {
      this.#lastLineAt = performance.now();
      say(progressLine(snapshot));
    }
  }

  #draw(lines: readonly string[]): void {
    const back = this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A`;
    process.stdout.write(`${back}${lines.map((line) => `\r\u001b[2K${line}\n`).join('')}\u001b[J`);
    this.#drawn = lines.length;
  }
}

/** Two columns in a frame. */
export function table(title: string, rows: readonly (readonly [string, string])[]): string {
  const left = Math.max(...rows.map(([name]) => name.length));
  const right = Math.max(...rows.map(([, value]) => value.length), title.length - left - 3);
  const line = `+${'-'.repeat(left + right + 5)}+`;
  const body = rows.map(([name, value]) => `| ${name.padEnd(left)}   ${value.padEnd(right)} |`);
  return [line, `| ${title.padEnd(left + right + 3)} |`, line, ...body, line].join('\n');
}
