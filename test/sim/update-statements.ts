/** What the updates that the engine sends make of a raw document: replacements, `$set` and `$unset`, and pipelines. */
import { applyDelta } from './delta.js';
import { documentFrom, type Field, fieldOf, fieldsOf, fieldValue, Type, toField, toRaw } from './raw.js';
import type { FakeServer } from './server.js';
import type { Transaction } from './server-state.js';
import { sortKey } from './sort-key.js';
import { replaced, withId, withTimes } from './storage.js';
import { SimulationError } from './world.js';

/** What an update makes of a document. */
export interface Updated {
  readonly raw: Buffer;
  readonly delta: Buffer | undefined;
  readonly isPlain: boolean;
}

/** What an update makes of a document; of none: what it would insert. */
export function updated(
  server: FakeServer,
  before: Buffer | undefined,
  id: Field | undefined,
  update: Field,
  tx: Transaction,
): Updated {
  const start = before ?? (id === undefined ? toRaw({}) : documentFrom([{ ...id, name: '_id' }]));
  if (update.type === Type.array) return piped(server, start, before, update.value);
  const [first] = fieldsOf(update.value);
  if (first?.name.startsWith('$') === true) return { ...changed(start, update.value), isPlain: true };
  const whole = before === undefined ? withIdOf(start, update.value) : replaced(before, update.value);
  return { raw: withTimes(whole, timeBytes(tx.time)), delta: undefined, isPlain: true };
}

function withIdOf(start: Buffer, doc: Buffer): Buffer {
  const id = fieldOf(doc, '_id') ?? fieldOf(start, '_id');
  return id === undefined ? doc : withId(id, doc);
}

/** $set and $unset of fields at the top. */
function changed(start: Buffer, operators: Buffer): { readonly raw: Buffer; readonly delta: Buffer } {
  const set: Field[] = [];
  const unset: Field[] = [];
  for (const { name, value } of fieldsOf(operators)) {
    if (name === '$set') set.push(...fieldsOf(value));
    else if (name === '$unset') unset.push(...fieldsOf(value));
    else throw new SimulationError(`the update operator ${name} is not simulated`);
  }
  const there = new Set(fieldsOf(start).map(({ name }) => name));
  const part = (name: string, fields: readonly Field[]): Field[] =>
    fields.length === 0 ? [] : [{ name, type: Type.document, value: documentFrom(fields) }];
  const diff = documentFrom([
    ...part(
      'd',
      unset.filter(({ name }) => there.has(name)).map(({ name }) => toField(name, false)),
    ),
    ...part(
      'u',
      set.filter(({ name }) => there.has(name)),
    ),
    ...part(
      'i',
      set.filter(({ name }) => !there.has(name)),
    ),
  ]);
  return { raw: applyDelta(start, diff), delta: deltaOf(diff) };
}

/** `{$v: 2, diff: …}`. */
export function deltaOf(diff: Buffer): Buffer {
  return documentFrom([toField('$v', 2), { name: 'diff', type: Type.document, value: diff }]);
}

function piped(server: FakeServer, start: Buffer, before: Buffer | undefined, pipeline: Buffer): Updated {
  let raw = start;
  let delta: Buffer | undefined;
  const stages = fieldsOf(pipeline);
  for (const stage of stages) {
    const [operator] = fieldsOf(stage.value);
    if (operator?.name === '$_internalApplyOplogUpdate') {
      const diff = fieldOf((fieldOf(operator.value, 'oplogUpdate') as Field).value, 'diff') as Field;
      raw = applyDelta(raw, diff.value);
      delta = stages.length === 1 ? deltaOf(diff.value) : undefined;
    } else if (operator?.name === '$replaceWith') {
      const literal = fieldOf(operator.value, '$literal') as Field;
      raw = before === undefined ? withIdOf(start, literal.value) : replaced(before, literal.value);
    } else if (operator?.name === '$set') raw = setByPipeline(server, raw, operator.value);
    else throw new SimulationError(`the update stage ${operator?.name} is not simulated`);
  }
  return { raw, delta, isPlain: false };
}

function setByPipeline(server: FakeServer, raw: Buffer, fields: Buffer): Buffer {
  const result = new Map(fieldsOf(raw).map((field) => [field.name, field]));
  for (const field of fieldsOf(fields)) {
    const value = evaluate(server, raw, field);
    if (value !== undefined) result.set(field.name, { ...value, name: field.name });
  }
  return documentFrom([...result.values()]);
}

/** $literal, $add, $max, $$NOW and paths: what the lease is changed by. */
function evaluate(server: FakeServer, raw: Buffer, field: Field): Field | undefined {
  if (field.type === Type.string) {
    const text = String(fieldValue(field));
    if (text === '$$NOW') return toField('', new Date(server.state.wallMs));
    return text.startsWith('$') ? fieldOf(raw, text.slice(1)) : field;
  }
  if (field.type !== Type.document) return field;
  const [operator] = fieldsOf(field.value);
  if (operator === undefined || !operator.name.startsWith('$')) return field;
  if (operator.name === '$literal') return operator;
  const operands = fieldsOf(operator.value).map((each) => evaluate(server, raw, each));
  const values = operands.map((each) => (each === undefined ? undefined : fieldValue(each)));
  if (operator.name === '$max') {
    const known = operands.filter((each) => each !== undefined);
    return known.reduce((a, b) => (sortKey(a) >= sortKey(b) ? a : b));
  }
  if (operator.name !== '$add') throw new SimulationError(`the expression ${operator.name} is not simulated`);
  const [first, second] = values;
  return first instanceof Date
    ? toField('', new Date(first.getTime() + Number(second)))
    : toField('', Number(first) + Number(second));
}

/** A cluster time as BSON has it. */
export function timeBytes(time: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32LE(time % 1_000_000, 0);
  bytes.writeUInt32LE(Math.floor(time / 1_000_000), 4);
  return bytes;
}
