/** collMod on a simulated server, of collections, their indexes, and views. */
import { Int32, Long } from 'mongodb';
import { changeIndexes, changeOptions } from './catalog.js';
import { mustBeThere, optionsOf, refuseCycle } from './catalog-commands.js';
import { Codes, serverError } from './errors.js';
import { entriesOf } from './query.js';
import { numberOf, type Request, uuidMismatch } from './request.js';
import type { FakeServer } from './server.js';
import type { Transaction } from './server-state.js';
import { FakeCollection, type Spec } from './storage.js';
import { describe } from './stream-events.js';
import { SimulationError } from './world.js';

/** Of collections and views. */
export function collMod(server: FakeServer, request: Request): void {
  const { db, target, command } = request;
  const fields = optionsOf(command, 'collMod', 'dryRun');
  const entry = server.catalog.find(db, target);
  if (entry !== undefined && !(entry instanceof FakeCollection)) {
    if (command['collectionUUID'] !== undefined) throw uuidMismatch(request, undefined);
    const viewOptions = new Map([...entry.viewOptions, ...fields]);
    refuseCycle(server, db, target, viewOptions);
    server.state.change((tx) =>
      tx.did(server.catalog.put(db, target, { viewOptions }), {
        operationType: 'modify',
        ns: { db, coll: target },
        description: describe(fields),
      }),
    );
    return;
  }
  const collection = mustBeThere(server, request);
  if (fields.has('viewOn')) throw serverError(Codes.InvalidOptions, 'option only supported on a view: viewOn');
  server.builds.refuseWhileBuilding(collection);
  const index = fields.get('index');
  const isDryRun = command['dryRun'] === true;
  server.state.change((tx) => {
    const isSame = index !== undefined && !modifyIndex(collection, entriesOf(index), isDryRun, tx);
    if (isDryRun) return;
    const options = modified(collection.options, fields);
    if (options !== undefined) tx.did(changeOptions(collection, options));
    tx.events.push({
      operationType: 'modify',
      ns: { db, coll: target },
      uuid: collection.uuid,
      // A change of an index that changes nothing is an event that tells of nothing.
      description: describe(
        [...fields]
          .filter(([name]) => !(name === 'index' && isSame))
          .map(([name, value]) => [name, name === 'index' ? withLong(entriesOf(value)) : longOf(name, value)]),
      ),
    });
  });
}

const LONGS = new Set(['expireAfterSeconds', 'cappedMax', 'cappedSize']);

/** As the event tells of it. */
function withLong(index: Spec): Spec {
  return new Map([...index].map(([name, value]) => [name, longOf(name, value)]));
}

function longOf(name: string, value: unknown): unknown {
  return LONGS.has(name) && typeof value !== 'string' ? Long.fromNumber(numberOf(value)) : value;
}

const NO_MAXIMUM = 2_147_483_647;

function modified(options: Spec, fields: Spec): Spec | undefined {
  const result = new Map(options);
  let isChanged = false;
  for (const [name, value] of fields) {
    if (name === 'index') continue;
    isChanged = true;
    if (name === 'cappedSize') result.set('size', value);
    else if (name === 'cappedMax') result.set('max', numberOf(value) > 0 ? value : new Int32(NO_MAXIMUM));
    else if (name === 'expireAfterSeconds' && value === 'off') result.delete(name);
    else if (name === 'validator' && entriesOf(value).size === 0) result.delete(name);
    else if (name === 'changeStreamPreAndPostImages' && entriesOf(value).get('enabled') !== true) result.delete(name);
    else result.set(name, value);
    if (name.startsWith('validat')) setValidation(result);
  }
  return isChanged ? result : undefined;
}

/** A collMod of one writes out all. */
function setValidation(options: Map<string, unknown>): void {
  if (!options.has('validationLevel')) options.set('validationLevel', 'strict');
  if (!options.has('validationAction')) options.set('validationAction', 'error');
}

/** False: the index is so already. */
function modifyIndex(collection: FakeCollection, change: Spec, isDryRun: boolean, tx: Transaction): boolean {
  const name = String(change.get('name'));
  const spec = collection.indexes.get(name);
  if (spec === undefined) throw serverError(Codes.IndexNotFound, `cannot find index ${name}`);
  const result = new Map(spec);
  let isChanged = false;
  for (const [field, value] of change) {
    if (field === 'name') continue;
    const isNew = changeField(collection, spec, result, [field, value]);
    isChanged ||= isNew;
  }
  if (isChanged && !isDryRun)
    tx.did(changeIndexes(collection, new Map([...collection.indexes].map(([n, s]) => [n, n === name ? result : s]))));
  return isChanged;
}

function changeField(
  collection: FakeCollection,
  spec: Spec,
  result: Map<string, unknown>,
  [field, value]: readonly [string, unknown],
): boolean {
  const isUnique = spec.get('unique') === true;
  switch (field) {
    case 'unique':
      if (isUnique) return false;
      if (spec.get('prepareUnique') !== true)
        throw serverError(Codes.InvalidOptions, "Cannot make index unique with 'prepareUnique=false'");
      if (collection.hasDuplicates(spec))
        throw serverError(Codes.CannotConvertIndexToUnique, 'Cannot convert the index to unique', { violations: [] });
      result.delete('prepareUnique');
      result.set('unique', true);
      return true;
    case 'forceNonUnique':
      if (!isUnique) throw serverError(Codes.InvalidOptions, 'Cannot make index non-unique, it is not unique');
      result.delete('unique');
      return true;
    case 'prepareUnique':
    case 'hidden':
      // What is unique need not be prepared for it.
      if ((spec.get(field) === true) === value || (field === 'prepareUnique' && isUnique)) return false;
      if (value === true) result.set(field, true);
      else result.delete(field);
      return true;
    case 'expireAfterSeconds':
      if (collection.isCapped)
        throw serverError(Codes.InvalidOptions, 'TTL indexes are not supported for capped collections.');
      result.set(field, longOf(field, value));
      return true;
    default:
      throw new SimulationError(`a collMod of an index's ${field} is not simulated`);
  }
}
