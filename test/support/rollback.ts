/** Makes a primary whose writes are rolled back. */
import { type Document, MongoClient } from 'mongodb';
import type { Member, ReplicaSet } from './replica-set.js';
import { eventually } from './within.js';

const WAIT_MS = 60_000;
const STOP = 'stopReplProducer';

/** A primary whose writes reach no other member. */
export interface CutOff extends AsyncDisposable {
  /** The primary that is cut off. */
  readonly primary: Member;
  /** A client of it alone; writes need `w: 1`. */
  readonly client: MongoClient;
  /**
   * Another member becomes primary, what the old one has written since the cut is rolled back, and it is a secondary
   * like any other. Resolves with the new primary.
   */
  rollBack(): Promise<Member>;
  /** The others get what the primary has written; nothing is lost. Disposing does so, too. */
  heal(): Promise<void>;
}

/**
 * Cuts the secondaries of a set of three off from its primary's writes: they stay members and answer, but fetch nothing.
 * Everything that a majority has is replicated first. The set needs `setParameters: FAIL_POINTS`.
 */
export async function cutReplication(set: ReplicaSet): Promise<CutOff> {
  const primary = await set.waitForPrimary();
  const others = set.members.filter(({ index }) => index !== primary.index);
  const clients = await Promise.all([primary, ...others].map(({ index }) => connectTo(set, index)));
  const [client, ...secondaries] = clients as [MongoClient, ...MongoClient[]];
  await catchesUpWithNobody(client);
  await client.db('cutoff').command({ insert: 'marks', documents: [{}], writeConcern: { w: 3 } });
  await Promise.all(secondaries.map(stopFetching));
  const close = async (): Promise<void> => {
    await Promise.all(clients.map((each) => each.close()));
  };
  const heal = async (): Promise<void> => {
    await Promise.all(secondaries.map((each) => each.db('admin').command({ configureFailPoint: STOP, mode: 'off' })));
  };
  const rollBack = async (): Promise<Member> => {
    const before = await rollbackId(client);
    const successor = others[0] as Member;
    const stepUp = async () =>
      (await (secondaries[0] as MongoClient).db('admin').command({ replSetStepUp: 1 }))['ok'] === 1;
    await eventually(WAIT_MS, stepUp, `${successor.host} becoming primary`);
    await eventually(WAIT_MS, async () => (await set.primary())?.index === successor.index, 'the new primary');
    await heal();
    await eventually(WAIT_MS, async () => (await rollbackId(client)) > before, `a rollback on ${primary.host}`);
    const isBack = async () => (await client.db('admin').command({ hello: 1 }))['secondary'] === true;
    await eventually(WAIT_MS, isBack, `${primary.host} as a secondary`);
    return await set.waitForPrimary();
  };
  return {
    primary,
    client,
    rollBack,
    heal,
    [Symbol.asyncDispose]: async () => {
      await heal();
      await close();
    },
  };
}

async function connectTo(set: ReplicaSet, member: number): Promise<MongoClient> {
  return await new MongoClient(set.memberUri(member), { retryWrites: false }).connect();
}

/** A new primary would otherwise fetch from the old one first what is to be rolled back. */
async function catchesUpWithNobody(primary: MongoClient): Promise<void> {
  const admin = primary.db('admin');
  const { config } = (await admin.command({ replSetGetConfig: 1 })) as { config: Document };
  if (config['settings'].catchUpTimeoutMillis === 0) return;
  const settings = { ...config['settings'], catchUpTimeoutMillis: 0 };
  await admin.command({ replSetReconfig: { ...config, settings, version: config['version'] + 1 } });
}

/** Resolves once the member fetches nothing any more: the switch takes effect with its next look. */
async function stopFetching(member: MongoClient): Promise<void> {
  const admin = member.db('admin');
  const { count } = await admin.command({ configureFailPoint: STOP, mode: 'alwaysOn' });
  await admin.command({ waitForFailPoint: STOP, timesEntered: count + 1, maxTimeMS: WAIT_MS });
}

async function rollbackId(member: MongoClient): Promise<number> {
  return Number((await member.db('admin').command({ replSetGetRBID: 1 }))['rbid']);
}
