import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type Docker from 'dockerode';
import { withLimit } from './docker-engine.ts';
import { KeptReads } from './kept-reads.ts';

/** What dockerode's own client knows of its engine. */
export interface Modem {
  getSocketPath(): Promise<string> | undefined;
  host?: string;
  port?: string | number;
  protocol: string;
  version?: string;
  headers: Record<string, string>;
}

export const answerMs = 30_000;
export const mostRefusalBytes = 64 << 10;

/**
 * Begins a command in a container, and gives its two outputs as the engine frames them: a chunk is the reader's until it asks for the next
 * one. By a connection of its own, whose reads go to one buffer; behind TLS by dockerode's, in chunks with memory of their own.
 */
export async function execOutput(exec: Docker.Exec, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  const modem = exec.modem as Modem;
  signal.throwIfAborted();
  if (modem.protocol === 'https') {
    const stream = (await exec.start({})) as unknown as AsyncIterable<Uint8Array> & Ending;
    return endedBy(signal, stream);
  }
  const { at, version } = await placeOf(modem);
  const path = `${version}/exec/${exec.id}/start`;
  const stop = new AbortController();
  const given = AbortSignal.any([signal, stop.signal]);
  return withLimit(upgraded(path, { at, headers: modem.headers }, given), answerMs).catch((error: unknown) => {
    stop.abort();
    throw error;
  });
}

interface Ending {
  destroy(): unknown;
  once(name: 'close', closed: () => void): unknown;
}

/** Destroys it when `signal` says so. Once it has closed the signal has forgotten it: a run's lives as long as all of its files take. */
export function endedBy<S extends Ending>(signal: AbortSignal, stream: S): S {
  const end = (): void => void stream.destroy();
  signal.addEventListener('abort', end);
  stream.once('close', () => signal.removeEventListener('abort', end));
  if (signal.aborted) end();
  return stream;
}

type Place = { host: string; port: number } | { path: string };

/** Where it listens, and what its paths begin with. */
export async function placeOf(modem: Modem): Promise<{ at: Place; version: string }> {
  const at = modem.host
    ? { host: modem.host, port: Number(modem.port) }
    : { path: (await modem.getSocketPath()) ?? '' };
  return { at, version: modem.version ? `/${modem.version}` : '' };
}

function upgraded(
  path: string,
  engine: { at: Place; headers: Record<string, string> },
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
    endedBy(signal, asked);
    asked.on('error', reject);
    asked.on('upgrade', (_, socket, head) => {
      endedBy(signal, socket);
      resolve(reads.bytes(head));
    });
    asked.on('response', (answer) => {
      if (answer.statusCode === 200) resolve(answer);
      else void refusalOf(answer.statusCode ?? 0, answer).then(reject, reject);
    });
    asked.end(body);
  });
}

/** As dockerode says it. */
export async function refusalOf(statusCode: number, body: AsyncIterable<Uint8Array>): Promise<Error> {
  let text = '';
  for await (const chunk of body) if (text.length < mostRefusalBytes) text += Buffer.from(chunk).toString();
  return Object.assign(new Error(`(HTTP code ${statusCode}) ${text.trim()}`), { statusCode });
}
