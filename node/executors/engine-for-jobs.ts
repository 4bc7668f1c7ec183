import type Docker from 'dockerode';
import type { ExecutorSpec } from '../ports.ts';

/**
 * An engine for jobs: its owner lets jobs of named projects that carry the tag use this machine's engine, to build images. The socket is all
 * that they get, and it is root on the machine (docs/build-images.md); nothing else is privileged.
 */
export const engineTag = 'engine';

/** Where every client looks for an engine by itself. */
const usualSocket = '/var/run/docker.sock';

/** What a job that was placed by the tag says of itself; `project`: its full path, in GitLab's own word. */
interface EngineWish {
  project: string | null;
  /** It asks to be behind more than a container, which the socket would be a door in. */
  isIsolated?: boolean;
}

/** `group/project`, `group/*` with all below it, or `*`; a group's name alone is no project's. */
export const projectPattern = /^(?:\*|[\w.-]+(?:\/[\w.-]+)*\/(?:[\w.-]+|\*))$/;

export const isEngineFor = (allowed: readonly string[], project: string): boolean =>
  allowed.some((one) => one === '*' || one === project || (one.endsWith('/*') && project.startsWith(one.slice(0, -1))));

type EngineGiven = { mount: Docker.MountSettings } | { refused: string };

/**
 * The engine's socket for a job's container, or why the job goes on without it. A job may have come with a runner of more tags than its own, so
 * whoever is not meant is not failed: it may never have asked.
 */
export function engineFor(wish: EngineWish, allowed: readonly string[], address: string | null): EngineGiven {
  if (allowed.length === 0)
    return { refused: `this machine's engine is for no jobs: its owner has not said --engine-for-jobs` };
  if (wish.project === null || !isEngineFor(allowed, wish.project))
    return {
      refused: `this machine's engine is for jobs of ${allowed.join(', ')}, not of ${wish.project ?? 'a project that GitLab does not name'}: its owner says which by --engine-for-jobs`,
    };
  if (wish.isIsolated === true)
    return {
      refused: 'a job that asks to be isolated by more than a container gets no engine: leave one of the two tags away',
    };
  const socket = address === null ? usualSocket : /^unix:\/\/(\/.+)$/.exec(address)?.[1];
  if (socket === undefined)
    return { refused: `this machine's engine is reached at ${address}, and only a socket can be given to a job` };
  return {
    mount: { Type: 'bind', Source: socket, Target: usualSocket, ReadOnly: false } as Docker.MountSettings,
  };
}

/** What a container has more by it: the socket for who may have it; who may not reads why. */
export function engineOf(
  { engine: wish, run, isolation = [] }: ExecutorSpec,
  options: { engineForJobs?: readonly string[]; note?: (run: string, sentence: string) => void },
  address: string | null,
): { engine?: Docker.MountSettings } {
  if (!wish) return {};
  const wanted = { ...wish, isIsolated: isolation.length > 0 };
  const given = engineFor(wanted, options.engineForJobs ?? [], address);
  if ('mount' in given) return { engine: given.mount };
  options.note?.(run, `WARNING: ${given.refused}`);
  return {};
}
