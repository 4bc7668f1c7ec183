import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';

/** HTTP status with which the engine refused; undefined where it was no answer. */
export const statusOf = (error: unknown): number | undefined => (error as { statusCode?: number }).statusCode;

/** What the engine said, without the words that its client puts in front. */
export const saidBy = (error: unknown): string =>
  sentenceOf(error)
    .replace(/^\(HTTP code \d+\) [\w ]+ - /, '')
    .trim();

/**
 * An engine that is away for a moment (an upgrade of docker, a kill -9) takes nothing from a run: with live-restore its
 * container, its input and its record are all intact. So runs wait for it as they wait for an agent's restart, and what is
 * left when it is back is looked at then (real-libraries A1, public-reports 4).
 */
const engineWaitMs = 60_000;
const againMs = 300;

const awayCodes = new Set([
  'ECONNREFUSED',
  'ENOENT',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);
/** What an engine says that answers but has lost its own other half, or ends. */
const halfAway = /containerd|shutting down|connection error|transport is closing|context canceled/i;

/** True when nobody answered; false for everything that an engine said about a container or an image. */
export function isEngineAway(error: unknown): boolean {
  let cause = error;
  for (let depth = 0; depth < 6 && cause instanceof Error; depth++) {
    const { code, statusCode } = cause as { code?: string; statusCode?: number };
    if (statusCode !== undefined) return statusCode >= 500 && halfAway.test(cause.message);
    if (code !== undefined && awayCodes.has(code)) return true;
    if (/socket hang up|no answer within/.test(cause.message)) return true;
    cause = cause.cause;
  }
  return false;
}

/**
 * What Docker and Podman say of a container whose program or user is not in its image: no other machine would start it either.
 * (gitlab-runner calls all of it a runner system failure, after three tries.)
 */
const own =
  /\bexec: "|executable file .*not found|unable to find user|no matching entries in (?:passwd|group)|OCI runtime attempted to invoke|open executable: permission denied/i;
export function startErrorCode(cause: unknown): 'image-unusable' | 'executor-failed' {
  if (cause instanceof AutogitError && cause.code === 'image-unusable') return cause.code;
  return statusOf(cause) !== undefined && own.test((cause as Error).message) ? 'image-unusable' : 'executor-failed';
}

const silent = /no answer within/;
/** It took a call and did not answer it in its time. */
export const isSilent = (error: unknown): boolean => error instanceof Error && silent.test(error.message);

/** Asks again while the engine is away, at most `limitMs`; then the last error is thrown. */
export async function whileAway<T>(
  work: () => Promise<T>,
  { limitMs = engineWaitMs, signal }: { limitMs?: number; signal?: AbortSignal } = {},
): Promise<T> {
  const until = performance.now() + limitMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isEngineAway(error) || signal?.aborted || performance.now() >= until) throw error;
      await sleep(againMs, undefined, signal ? { signal } : {}).catch(() => undefined);
    }
  }
}

/** An engine may take a call and never answer it. */
export async function withLimit<T>(work: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error(`no answer within ${limitMs / 1000} s`)), limitMs);
  });
  work.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Why no engine can be used, and what to do. */
export const noDocker = (cause: unknown): never => {
  const refused = (cause as { code?: string }).code === 'EACCES';
  if (isSilent(cause))
    throw new AutogitError(
      'no-docker',
      `the Docker Engine takes calls and does not answer them (${sentenceOf(cause)})`,
      {
        cause,
        hint: 'sudo systemctl restart docker',
      },
    );
  throw new AutogitError('no-docker', `no Docker Engine answers: ${sentenceOf(cause)}`, {
    cause,
    ...(refused && { hint: 'let this user use it, and log in again: sudo usermod -aG docker "$USER"' }),
  });
};

/** The bundle has no SSH (deploy/bundle.mjs): without this, an engine there would look like one that is away. Throws `no-docker`. */
export function refuseSsh(named: string | null): void {
  if (!(named ?? process.env.DOCKER_HOST)?.startsWith('ssh:')) return;
  throw new AutogitError('no-docker', 'DOCKER_HOST names an engine behind ssh://, which is not supported', {
    hint: 'name one that is reached without SSH: --docker-host unix:///var/run/docker.sock',
  });
}

/** By a socket or this machine's own address: the engine's disk can be looked at. */
export const isLocal = (address: string | null): boolean =>
  address === null || /^unix:|^[a-z]+:\/\/(?:localhost|127\.|\[::1\])/.test(address);

/** Undefined: by DOCKER_HOST, else the usual socket. */
export function addressOf(address: string | null): Docker.DockerOptions | undefined {
  if (address === null) return undefined;
  if (address.startsWith('unix://')) return { socketPath: address.slice('unix://'.length) };
  let url: URL;
  try {
    url = new URL(address);
  } catch (cause) {
    throw new AutogitError('bad-config', `${address} is no address of an engine: unix:///path or tcp://host:port`, {
      cause,
    });
  }
  return {
    host: url.hostname,
    port: url.port || '2375',
    protocol: url.protocol === 'https:' ? 'https' : 'http',
  };
}
