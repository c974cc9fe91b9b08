/** Serves gRPC reflection, so that grpcurl works without a proto file. */
import { toBinary } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  type FieldDescriptorProto,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
} from '@bufbuild/protobuf/wkt';
import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  type ServerReflectionServer,
  ServerReflectionService,
} from '../../../gen/grpc/reflection/v1/reflection.js';
import { descriptorFiles } from '../descriptors.js';
import type { ReservedBytes } from '../reserved-bytes.js';

type Answer = NonNullable<ServerReflectionResponse['messageResponse']>;

/** The same protocol under the name that older clients ask for; its messages are identical on the wire. */
export const reflectionV1AlphaService = {
  serverReflectionInfo: {
    ...ServerReflectionService.serverReflectionInfo,
    path: '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
  },
};

/**
 * The standard reflection service over the checked-in descriptor set: unlike the descriptors that a loader makes at
 * run time, it keeps custom options and comments, so that `grpcurl describe` shows the HTTP mapping too, and it needs
 * no .proto file beside the executable. Source: grpc.reflection.v1.
 */
export function reflectionHandlers(held: ReservedBytes): ServerReflectionServer {
  const index = buildIndex();
  return {
    serverReflectionInfo: (call: ServerDuplexStream<ServerReflectionRequest, ServerReflectionResponse>) => {
      const holder = held.open();
      call.on('cancelled', () => holder[Symbol.dispose]());
      // One question at a time: the next one is not read before the answer to the last has been taken.
      call.on('data', (request: ServerReflectionRequest) => {
        call.pause();
        const messageResponse = answer(index, request);
        const bytes = sizeOf(messageResponse);
        holder.add(bytes);
        call.write({ validHost: request.host, originalRequest: request, messageResponse }, () => {
          holder.remove(bytes);
          call.resume();
        });
      });
      call.on('end', () => call.end());
    },
  };
}

function sizeOf(response: Answer): number {
  if (response.$case !== 'fileDescriptorResponse') return 0;
  return response.value.fileDescriptorProto.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

interface Index {
  readonly services: readonly string[];
  readonly fileByName: ReadonlyMap<string, FileDescriptorProto>;
  readonly fileBySymbol: ReadonlyMap<string, FileDescriptorProto>;
  /** Files by extension number, by the extended message's name. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, FileDescriptorProto>>;
}

function answer(index: Index, { messageRequest }: ServerReflectionRequest): Answer {
  switch (messageRequest?.$case) {
    case 'listServices':
      return { $case: 'listServicesResponse', value: { service: index.services.map((name) => ({ name })) } };
    case 'fileByFilename':
      return filesOrNotFound(index, index.fileByName.get(messageRequest.value));
    case 'fileContainingSymbol':
      return filesOrNotFound(index, index.fileBySymbol.get(messageRequest.value));
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = messageRequest.value;
      return filesOrNotFound(index, index.extensions.get(containingType)?.get(extensionNumber));
    }
    case 'allExtensionNumbersOfType': {
      const extensionNumber = [...(index.extensions.get(messageRequest.value)?.keys() ?? [])];
      if (!index.fileBySymbol.has(messageRequest.value)) return notFound();
      return { $case: 'allExtensionNumbersResponse', value: { baseTypeName: messageRequest.value, extensionNumber } };
    }
    case undefined:
      return { $case: 'errorResponse', value: { errorCode: status.INVALID_ARGUMENT, errorMessage: 'empty request' } };
  }
}

/** A file and everything it imports, so that a client needs one question. */
function filesOrNotFound(index: Index, file: FileDescriptorProto | undefined): Answer {
  if (file === undefined) return notFound();
  const files = new Set([file]);
  for (const one of files) {
    for (const name of one.dependency) {
      const imported = index.fileByName.get(name);
      if (imported !== undefined) files.add(imported);
    }
  }
  const fileDescriptorProto = [...files].map(encodedFile);
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

const encodedFiles = new WeakMap<FileDescriptorProto, Buffer>();

function encodedFile(file: FileDescriptorProto): Buffer {
  const encoded = encodedFiles.get(file) ?? Buffer.from(toBinary(FileDescriptorProtoSchema, file));
  encodedFiles.set(file, encoded);
  return encoded;
}

function notFound(): Answer {
  return {
    $case: 'errorResponse',
    value: { errorCode: status.NOT_FOUND, errorMessage: 'this server has no such file, symbol or extension' },
  };
}

function buildIndex(): Index {
  const fileBySymbol = new Map<string, FileDescriptorProto>();
  const extensions = new Map<string, Map<number, FileDescriptorProto>>();
  const services: string[] = [];
  for (const file of descriptorFiles) {
    const note = (symbol: string): void => void fileBySymbol.set(symbol, file);
    for (const service of file.service) {
      const name = `${file.package}.${service.name}`;
      services.push(name);
      for (const symbol of [name, ...service.method.map((method) => `${name}.${method.name}`)]) note(symbol);
    }
    for (const { name } of file.enumType) note(`${file.package}.${name}`);
    for (const symbol of messageSymbols(file.messageType, file.package)) note(symbol);
    for (const extension of file.extension) {
      note(`${file.package}.${extension.name}`);
      noteExtension(extensions, extension, file);
    }
  }
  return { services, fileByName: new Map(descriptorFiles.map((file) => [file.name, file])), fileBySymbol, extensions };
}

function* messageSymbols(messages: readonly DescriptorProto[], scope: string): Generator<string> {
  for (const message of messages) {
    const name = `${scope}.${message.name}`;
    yield name;
    for (const field of message.field) yield `${name}.${field.name}`;
    for (const type of message.enumType) yield `${name}.${type.name}`;
    yield* messageSymbols(message.nestedType, name);
  }
}

function noteExtension(
  extensions: Map<string, Map<number, FileDescriptorProto>>,
  extension: FieldDescriptorProto,
  file: FileDescriptorProto,
): void {
  const extended = extension.extendee.replace(/^\./, '');
  const byNumber = extensions.get(extended) ?? new Map<number, FileDescriptorProto>();
  extensions.set(extended, byNumber.set(extension.number, file));
}
