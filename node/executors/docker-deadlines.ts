import { PassThrough, type Readable } from 'node:stream';
import type Docker from 'dockerode';

/**
 * An engine may take a call and never answer it: stopped, in swap, waiting for a disk or for its containerd. The client
 * has no limits of its own, so each call gets one here, up to the head of its answer (for calls without a stream: to its
 * end). What is called off so counts as an engine that is away (`isEngineAway`); it may still do what it was asked once it
 * goes on, so whoever calls off a change looks again when it is back.
 */
interface Call {
  method: string;
  path: string;
  file?: unknown;
  abortSignal?: AbortSignal;
}

const lookMs = 10_000;
const changeMs = 30_000;
/** A container is made from layers, and begun with drivers to load: on a slow disk that takes its time. */
const beginMs = 60_000;
/** Registries are slow. And a body may go up for long, as long as it goes on. */
const transferMs = 120_000;

function limitOf({ method, path, file }: Call): number {
  if (file !== undefined || path.startsWith('/images/create')) return transferMs;
  // A registry is asked by it; layers of many GiB are removed.
  if (path.startsWith('/distribution/') || (method === 'DELETE' && path.startsWith('/images/'))) return transferMs;
  if (method === 'GET') return path.includes('/archive') ? changeMs : lookMs;
  return /^\/containers\/(?:create|[^/]+\/start)\b/.test(path) ? beginMs : changeMs;
}

type Answered = (error: unknown, answer: unknown) => void;

interface Modem {
  dial(call: Call, answered: Answered): void;
}

/** `onSilent`: an engine that took a call did not answer it in its time. */
export function withDeadlines(docker: Docker, onSilent: () => void, limit = limitOf): Docker {
  const modem = docker.modem as Modem;
  const dial = modem.dial.bind(modem);
  modem.dial = (call, answered) => {
    const stop = new AbortController();
    let isDone = false;
    const limitMs = limit(call);
    const late = (): void => {
      if (isDone) return;
      isDone = true;
      stop.abort();
      onSilent();
      answered(new Error(`no answer within ${limitMs / 1000} s`), null);
    };
    const timer = setTimeout(late, limitMs);
    const file = isStream(call.file) ? counted(call.file, () => timer.refresh()) : call.file;
    const abortSignal = call.abortSignal ? AbortSignal.any([call.abortSignal, stop.signal]) : stop.signal;
    dial({ ...call, abortSignal, ...(file !== undefined && { file }) }, (error, answer) => {
      clearTimeout(timer);
      if (isDone) return void (answer as { destroy?: () => void } | null)?.destroy?.();
      isDone = true;
      answered(error, answer);
    });
  };
  return docker;
}

const isStream = (file: unknown): file is Readable => typeof (file as Readable | undefined)?.pipe === 'function';

/** The same bytes; tells of each piece that the other side has room for. */
function counted(file: Readable, onBytes: () => void): Readable {
  const through = new PassThrough({
    transform(chunk, _encoding, done) {
      onBytes();
      done(null, chunk);
    },
  });
  file.once('error', (error) => through.destroy(error));
  through.once('close', () => file.unpipe(through));
  return file.pipe(through);
}
