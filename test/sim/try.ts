import { Random } from '../support/workload-random.js';
import { DEFAULT_START } from '../support/migration-harness.js';
import { CALM } from './chaos.js';
import { FakeDeployment } from './deployment.js';
import { toRaw } from './raw.js';
import { SimulatedProcess } from './simulated-process.js';
import { enter, leave, realNowMs } from './virtual-globals.js';
import { World } from './world.js';
import { insertOne } from './write-commands.js';

const out = (t: string) => process.stderr.write(`${t}\n`);
async function one(seed: number, log: boolean): Promise<void> {
  const world = new World();
  const random = new Random(seed);
  enter(world, new Random(seed + 1));
  const tell = (what: string): void => { if (log) out(`${(world.nowMs / 1000).toFixed(3)} ${what}`); };
  const make = (name: string) => new FakeDeployment({ name, world, random: new Random(random.int(1e9)), levels: CALM, tell });
  const cluster0 = make('source');
  const cluster1 = make('target');
  cluster0.state.change((tx) => {
    const coll = cluster0.server.createCollection('shop', 'items', new Map(), tx);
    for (let i = 0; i < 30; i++) insertOne(cluster0.server, coll, toRaw({ _id: i, name: `item ${i}` }), tx, true);
  });
  const p = new SimulatedProcess({ world, name: 'p1', cluster0, cluster1, loadLevel: 1, disableVerification: false, log: log ? (l) => { const j = JSON.parse(l); out(`${(world.nowMs / 1000).toFixed(3)}   ${j.level} ${j.componentName}: ${j.message} ${JSON.stringify(j.error ?? '')}`); } : undefined });
  let started = false, committed = false;
  const look = (): void => {
    const s = p.migration.snapshot();
    if (!p.isRunning) { out(`ended ${String(p.end)}`); world.finish(); return; }
    if (s.state === 'IDLE' && !started) { started = true; p.do(() => { p.migration.start(DEFAULT_START).catch((e: unknown) => { out(`start: ${e}`); world.finish(); }); }); }
    if (s.canCommit && !committed) { committed = true; p.do(() => { p.migration.commit().catch((e: unknown) => { out(`commit: ${e}`); world.finish(); }); }); }
    if (s.state === 'COMMITTED') { if (log) out(`COMMITTED at ${world.nowMs} after ${world.events} events`); p.stop(); }
    world.after(100, look, world.outside);
  };
  world.after(0, look, world.outside);
  try { await world.run({ untilMs: 3600_000, events: 1e6 }); } finally { leave(); }
}
const seed = Number(process.argv[2] ?? 1);
await one(seed, true);
const n = Number(process.argv[3] ?? 0);
const t = realNowMs(); const c0 = process.cpuUsage();
for (let i = 0; i < n; i++) await one(seed + i, false);
const c = process.cpuUsage(c0); if (n) out(`${((realNowMs() - t) / n).toFixed(2)} ms each, cpu ${((c.user + c.system) / 1000 / n).toFixed(2)} ms`);
