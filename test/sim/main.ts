/** Runs simulated migrations: `SEED=… COUNT=… [LOG=1] node build/test/sim/main.js`. */
import { simulate } from './simulation.js';
import { realNowMs } from './virtual-globals.js';

const seed = Number(process.env['SEED'] ?? 1);
const total = Number(process.env['COUNT'] ?? 1);
const logs = process.env['LOG'] !== undefined;
const verdicts = new Map<string, number>();
const began = realNowMs();
let events = 0;
let virtualMs = 0;
for (let n = 0; n < total; n++) {
  const outcome = await simulate(seed + n, { logs, commands: process.env['COMMANDS'] !== undefined });
  events += outcome.events;
  virtualMs += outcome.virtualMs;
  verdicts.set(outcome.verdict, (verdicts.get(outcome.verdict) ?? 0) + 1);
  if (!outcome.isExplained && total > 1) process.stdout.write(`SEED=${outcome.seed} ${outcome.verdict}: ${outcome.details.join('; ').slice(0, 1500)}\n`);
  if (total === 1) process.stdout.write(`${[...outcome.steps, outcome.verdict, ...outcome.details].join('\n')}\n`);
}
const { user, system } = process.cpuUsage();
process.stdout.write(`${[...verdicts].map(([name, count]) => `${count} × ${name}`).join('\n')}\n`);
process.stdout.write(`${total} migrations, ${((user + system) / 1000 / total).toFixed(1)} ms CPU, ${((realNowMs() - began) / total).toFixed(1)} ms each; ${Math.round(events / total)} events, ${Math.round(virtualMs / total / 1000)} s virtual\n`);
