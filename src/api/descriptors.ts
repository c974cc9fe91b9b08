/** Describes the service at run time: its messages, methods and our own options, as proto/ declares them. */
import {
  createFileRegistry,
  type DescEnum,
  type DescExtension,
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  getOption,
  hasOption,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { DESCRIPTOR_SET_BASE64 } from '../../gen/descriptor-set.js';
import { InvariantError } from '../errors.js';

const fileSet = fromBinary(FileDescriptorSetSchema, Buffer.from(DESCRIPTOR_SET_BASE64, 'base64'));
const registry = createFileRegistry(fileSet);

/** Every file of proto/ and its imports, as read by server reflection. */
export const descriptorFiles = fileSet.file;

/** The service that both front doors offer. */
export const syncService: DescService = required(registry.getService('mongoferry.v1.SyncService'), 'SyncService');

/** A message by its full name. Throws InvariantError for a name that proto/ does not have. */
export function messageType(fullName: string): DescMessage {
  return required(registry.getMessage(fullName), fullName);
}

/** How a method is reached over HTTP, from its google.api.http annotation. */
export interface HttpRule {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  /** "*": the body is the request; a field's name: the body is that field; "": there is no body. */
  readonly body: string;
}

const httpOption = extension('google.api.http');

/** The method's HTTP mapping. Throws InvariantError for a mapping the gateway has no code for. */
export function httpRule(method: DescMethod): HttpRule {
  const rule = hasOption(method, httpOption) ? (getOption(method, httpOption) as unknown) : undefined;
  if (!isHttpRule(rule)) throw new InvariantError(`${method} has no google.api.http rule that the gateway can serve`);
  return { method: rule.pattern.case === 'get' ? 'GET' : 'POST', path: rule.pattern.value, body: rule.body };
}

interface RawHttpRule {
  readonly pattern: { readonly case: 'get' | 'post'; readonly value: string };
  readonly body: string;
}

function isHttpRule(value: unknown): value is RawHttpRule {
  const rule = value as Partial<RawHttpRule> | undefined;
  const verb = rule?.pattern?.case;
  return (verb === 'get' || verb === 'post') && !rule?.pattern?.value.includes('{');
}

const unsetOption = extension('mongoferry.v1.unset');
const requiredOption = extension('mongoferry.v1.json_required');
const nonEmptyOption = extension('mongoferry.v1.json_non_empty');

/** What an unset field is in JSON: see UnsetJson in json_options.proto. */
export function unsetJson(field: DescField): 'default' | 'null' | 'omit' {
  if (!hasOption(field, unsetOption)) return 'default';
  return (['default', 'null', 'omit'] as const)[getOption(field, unsetOption) as number] ?? 'default';
}

/** Whether a JSON object for the field's message must hold the field. */
export function isJsonRequired(field: DescField): boolean {
  return hasOption(field, requiredOption) && getOption(field, requiredOption) === true;
}

/** Whether an array for the field must have an element. */
export function isJsonNonEmpty(field: DescField): boolean {
  return hasOption(field, nonEmptyOption) && getOption(field, nonEmptyOption) === true;
}

/**
 * An enum value's name without the prefix that proto's style asks for: `NAMESPACE_DETAILS_ALL` is `ALL`.
 */
export function shortEnumName(type: DescEnum, name: string): string {
  const prefix = `${type.name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()}_`;
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}

const SERVICE = 6;
const MESSAGE = 4;
const MEMBER = 2;
const comments = readComments();

/** The comment above a service, method, message or field in proto/, as one paragraph; "" when it has none. */
export function commentOf(desc: DescService | DescMethod | DescMessage | DescField): string {
  return comments.get(desc.toString()) ?? '';
}

function readComments(): Map<string, string> {
  const found = new Map<string, string>();
  for (const file of registry.files) {
    const texts = new Map(
      file.proto.sourceCodeInfo?.location.map((location) => [location.path.join('.'), location.leadingComments]),
    );
    const note = (desc: DescService | DescMethod | DescMessage | DescField, ...path: number[]): void => {
      const text = texts
        .get(path.join('.'))
        ?.trim()
        .replace(/\s*\n\s*/g, ' ');
      if (text !== undefined) found.set(desc.toString(), text);
    };
    for (const [s, service] of file.services.entries()) {
      note(service, SERVICE, s);
      for (const [m, method] of service.methods.entries()) note(method, SERVICE, s, MEMBER, m);
    }
    for (const [m, message] of file.messages.entries()) {
      note(message, MESSAGE, m);
      for (const [f, field] of message.fields.entries()) note(field, MESSAGE, m, MEMBER, f);
    }
  }
  return found;
}

function extension(fullName: string): DescExtension {
  return required(registry.getExtension(fullName), fullName);
}

function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new InvariantError(`gen/descriptor-set.ts has no ${name}; run make gen`);
  return value;
}
