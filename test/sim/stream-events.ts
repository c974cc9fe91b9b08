/** Change events of a simulated server as raw BSON, their tokens, and the stages that choose among them. */
import { Long } from 'mongodb';
import { type OplogEntry, type StreamEvent, timestampOf } from './oplog.js';
import { documentField, documentFrom, type Field, fieldsOf, Type, toField, toRaw } from './raw.js';
import { SimulationError } from './world.js';

type Doc = Record<string, unknown>;

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0');
}

function timeText(time: number): string {
  return `82${hex(Math.floor(time / 1_000_000))}${hex(time % 1_000_000)}`;
}

/** The token of an event; sorts after the high-water mark of its time. */
export function eventToken(entry: OplogEntry, index: number): string {
  const uuid = entry.events[index]?.uuid?.toString('hex').toUpperCase() ?? '';
  return `${timeText(entry.time)}2B022C${hex(index)}296E5A1004${uuid}04`;
}

/** The token of a time at which nothing has been given out. */
export function highWaterMark(time: number): string {
  return `${timeText(time)}2B0229296E04`;
}

/** Where a token points: the event after which to go on, or before the time's first. */
export function positionOf(token: string): { readonly time: number; readonly index: number | undefined } {
  const time = Number.parseInt(token.slice(2, 10), 16) * 1_000_000 + Number.parseInt(token.slice(10, 18), 16);
  const isEvent = token.slice(18, 24) === '2B022C';
  return { time, index: isEvent ? Number.parseInt(token.slice(24, 32), 16) : undefined };
}

/** An event as a reply holds it. `showsDelta`: with the server's own delta. */
export function rawEvent(entry: OplogEntry, index: number, showsDelta: boolean): Buffer {
  const event = entry.events[index] as StreamEvent;
  const fields: Field[] = [
    toField('_id', { _data: eventToken(entry, index) }),
    ...(event.to === undefined ? [] : [toField('to', event.to)]),
    toField('operationType', event.operationType),
    toField('clusterTime', timestampOf(entry.time)),
  ];
  if (event.uuid !== undefined) fields.push(uuidField('collectionUUID', event.uuid));
  fields.push({ name: 'wallTime', type: Type.date, value: wallTime(entry.time) });
  if (event.document !== undefined) fields.push(documentField('fullDocument', event.document));
  fields.push(toField('ns', event.ns));
  if (event.key !== undefined) fields.push(documentField('documentKey', event.key));
  if (event.delta !== undefined) {
    fields.push(documentField(showsDelta ? 'rawUpdateDescription' : 'updateDescription', event.delta));
  }
  if (event.description !== undefined) fields.push(documentField('operationDescription', event.description));
  return documentFrom(fields);
}

/** A UUID as a field. */
export function uuidField(name: string, uuid: Buffer): Field {
  return { name, type: Type.binary, value: Buffer.concat([Buffer.from([16, 0, 0, 0, 4]), uuid]) };
}

function wallTime(time: number): Buffer {
  const value = Buffer.allocUnsafe(8);
  value.writeBigInt64LE(BigInt(Math.floor(time / 1_000_000)) * 1000n, 0);
  return value;
}

/** What the stages after `$changeStream` make of an event: undefined when they leave it out. */
export interface StreamStages {
  readonly passes: (event: StreamEvent) => boolean;
  readonly project: (raw: Buffer) => Buffer;
}

/** Errors: SimulationError for a stage that is not simulated. */
export function streamStages(stages: readonly Doc[]): StreamStages {
  const tests: ((event: StreamEvent) => boolean)[] = [];
  let project = (raw: Buffer): Buffer => raw;
  for (const stage of stages) {
    if (stage['$match'] !== undefined) tests.push(matchOf(stage['$match'] as Doc));
    else if (stage['$project'] !== undefined) project = projection(stage['$project'] as Doc);
    // Leaves out large parts; nothing is large here.
    else if (stage['$set'] === undefined) throw new SimulationError(`the stage ${Object.keys(stage)} is not simulated`);
  }
  return { passes: (event) => tests.every((test) => test(event)), project };
}

function matchOf(match: Doc): (event: StreamEvent) => boolean {
  const tests = Object.entries(match).map(([name, condition]): ((event: StreamEvent) => boolean) => {
    const { $in, $nin, $not } = condition as { $in?: string[]; $nin?: string[]; $not?: { $regex: string } };
    if (name === 'operationType' && $in !== undefined) return ({ operationType }) => $in.includes(operationType);
    if (name === 'operationType' && $nin !== undefined) return ({ operationType }) => !$nin.includes(operationType);
    if (name === 'ns.db' && $not !== undefined) {
      const regex = new RegExp($not.$regex);
      return ({ ns }) => !regex.test(ns.db);
    }
    throw new SimulationError(`a change stream's $match of ${name} is not simulated`);
  });
  return (event) => tests.every((test) => test(event));
}

function projection(fields: Doc): (raw: Buffer) => Buffer {
  const isInclusive = Object.values(fields).some((value) => value === 1);
  return (raw) =>
    documentFrom(
      fieldsOf(raw).filter(({ name }) => (isInclusive ? name === '_id' || fields[name] === 1 : fields[name] !== 0)),
    );
}

/** The id of a cursor. */
export function cursorId(id: number): Long {
  return Long.fromNumber(id);
}

/** An operation's description with its order kept. */
export function describe(entries: Iterable<readonly [string, unknown]>): Buffer {
  return toRaw(new Map(entries));
}
