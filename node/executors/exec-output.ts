import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type Docker from 'dockerode';
import { withLimit } from './docker-engine.ts';
import { KeptReads } from './kept-reads.ts';

/** What dockerode's own client knows of its engine. */
interface Modem {
  getSocketPath(): Promise<string> | undefined;
  host?: string;
  port?: string | number;
  protocol: string;
  version?: string;
  headers: Record<string, string>;
}

const answerMs = 30_000;
const mostRefusalBytes = 64 << 10;

/**
 * Begins a command in a container, and gives its two outputs as the engine frames them: a chunk is the reader's until it asks for the next
 * one. By a connection of its own, whose reads go to one buffer; behind TLS by dockerode's, in chunks with memory of their own.
 */
export async function execOutput(exec: Docker.Exec, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  const modem = exec.modem as Modem;
  signal.throwIfAborted();
  if (modem.protocol === 'https') {
    const stream = (await exec.start({})) as unknown as AsyncIterable<Uint8Array> & { destroy(): void };
    signal.addEventListener('abort', () => stream.destroy());
    if (signal.aborted) stream.destroy();
    return stream;
  }
  const path = `${modem.version ? `/${modem.version}` : ''}/exec/${exec.id}/start`;
  const at = modem.host
    ? { host: modem.host, port: Number(modem.port) }
    : { path: (await modem.getSocketPath()) ?? '' };
  const stop = new AbortController();
  const given = AbortSignal.any([signal, stop.signal]);
  return withLimit(upgraded(path, { at, headers: modem.headers }, given), answerMs).catch((error: unknown) => {
    stop.abort();
    throw error;
  });
}

function upgraded(
  path: string,
  engine: { at: { host: string; port: number } | { path: string }; headers: Record<string, string> },
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const reads = new KeptReads();
  const body = '{"Detach":false,"Tty":false}';
  const headers = {
    ...engine.headers,
    ...{ Host: 'docker', Connection: 'Upgrade', Upgrade: 'tcp' },
    ...{ 'Content-Type': 'application/json', 'Content-Length': String(body.length) },
  };
  return new Promise((resolve, reject) => {
    const createConnection = (): Socket => reads.of(connect({ ...engine.at, onread: reads.onread }));
    const asked = request({ path, method: 'POST', headers, createConnection });
    signal.addEventListener('abort', () => asked.destroy());
    asked.on('error', reject);
    asked.on('upgrade', (_, socket, head) => {
      signal.addEventListener('abort', () => socket.destroy());
      if (signal.aborted) socket.destroy();
      resolve(reads.bytes(head));
    });
    asked.on('response', (answer) => {
      if (answer.statusCode === 200) resolve(answer);
      else void refusal(answer).then(reject, reject);
    });
    asked.end(body);
  });
}

/** As dockerode says it. */
async function refusal(answer: IncomingMessage): Promise<Error> {
  let text = '';
  for await (const chunk of answer) if (text.length < mostRefusalBytes) text += String(chunk);
  return Object.assign(new Error(`(HTTP code ${answer.statusCode}) ${text.trim()}`), { statusCode: answer.statusCode });
}
