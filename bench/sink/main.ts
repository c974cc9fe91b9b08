/** Runs a far server, which may be a sink, as a process of its own, for whoever has forked it: see `FarServer`. */
import { once } from 'node:events';
import net from 'node:net';
import { type Distance, FarConnection } from './far-connection.js';

/** What the process is given at its start, as JSON. */
export interface FarOptions extends Distance {
  /** `host:port` of the server. */
  readonly target: string;
}

/** What it is told: whether the sink stands still. */
export interface FarOrder {
  readonly hold: boolean;
}

/** Its answer, once it is so: how many writes wait. */
export interface FarAnswer {
  readonly held: number;
}

/** What it tells first. */
export interface FarReady {
  readonly port: number;
}

const { target, ...distance } = JSON.parse(process.argv[2] ?? '{}') as FarOptions;
const [host = '', port = ''] = target.split(':');
const connections = new Set<FarConnection>();
let isHeld = false;

const listener = net.createServer((client) => {
  const server = net.connect({ host, port: Number(port) });
  const connection = new FarConnection({ client, server }, distance, isHeld);
  connections.add(connection);
  void connection.closed.then(() => connections.delete(connection));
});
process.on('message', ({ hold }: FarOrder) => {
  isHeld = hold;
  for (const each of connections) each.hold(hold);
  const held = [...connections].reduce((sum, each) => sum + each.held, 0);
  process.send?.({ held } satisfies FarAnswer);
});
// However the parent ends, this process must not stay behind.
process.once('disconnect', () => {
  listener.close();
  for (const each of connections) each.destroy();
});
listener.listen({ port: 0, host: '127.0.0.1' });
await once(listener, 'listening');
process.send?.({ port: (listener.address() as net.AddressInfo).port } satisfies FarReady);
