import { createHash } from 'node:crypto';
import { readFileSync, realpathSync, statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import type { ContainerCreateOptions, HostConfig } from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import { execCleanly, findProgram } from '../clean-spawn.ts';
import type { ExecutorSpec } from '../ports.ts';
import { jobLimits, labels, volumeAt } from './docker-container.ts';
import { statusOf } from './docker-engine.ts';
import { packFiles, plainName } from './tar-names.ts';

/**
 * An image of this machine's own git and the few commands that a script around it needs, with their libraries: some 10 MiB,
 * from no registry. In a container of it git works in a tree that jobs had before, where it can reach nothing else. Images
 * of jobs need no git for that.
 */
const programs = ['git', 'sh', 'cat', 'rm', 'mkdir', 'find', 'chmod', 'chown'] as const;
const name = 'autogit-node-git';
const mostBytes = 64 << 20;
/** In its container. */
const treeFolder = '/tree';
const leastGitBytes = 1 << 30;

const making = new Map<string, Promise<string>>();

/** Its name, made where the engine has none of this machine's programs as they are now. Throws `executor-failed`. */
export async function ensureGitImage(docker: Docker): Promise<string> {
  const found = programs.map((program) => {
    const path = findProgram(program, process.env.PATH);
    if (path === null) throw new AutogitError('executor-failed', `this machine has no ${program}`);
    const { size, mtimeMs } = statSync(path);
    return { program, path, stamp: `${path} ${size} ${mtimeMs}` };
  });
  const tag = createHash('sha256')
    .update(found.map(({ stamp }) => stamp).join('\n'))
    .digest('hex')
    .slice(0, 12);
  const image = `${name}:${tag}`;
  try {
    await docker.getImage(image).inspect();
    return image;
  } catch (cause) {
    if (statusOf(cause) !== 404) throw cause;
  }
  const made = making.get(image) ?? make(docker, tag, found);
  making.set(image, made);
  return made.finally(() => making.delete(image));
}

async function make(docker: Docker, tag: string, found: { program: string; path: string }[]): Promise<string> {
  const files = new Map<string, string>();
  for (const { program, path } of found) {
    const real = realpathSync(path);
    files.set(`bin/${program}`, real);
    // What is linked statically has none; busybox is one program for all.
    const { stdout } = await execCleanly('ldd', [real], {}).catch(() => ({ stdout: '' }));
    for (const [, library] of String(stdout).matchAll(/(\/\S+) \(0x/g))
      files.set(plainName(library as string), realpathSync(library as string));
  }
  let bytes = 0;
  const packed = [...files].map(([to, from]) => {
    const content = readFileSync(from);
    bytes += content.length;
    return { name: to, mode: 0o755, content, uid: 0, gid: 0 };
  });
  if (bytes > mostBytes) throw new AutogitError('executor-failed', 'the git of this machine has too many libraries');
  const folders = ['tmp/', 'tree/'].map((folder) => ({ name: folder, mode: 0o777, content: null, uid: 0, gid: 0 }));
  const old = await docker.listImages({ filters: { reference: [name] } });
  const tar = packFiles([...folders, ...packed]);
  const options = { repo: name, tag, changes: [`LABEL ${labels.helper}=git`] };
  const stream = (await docker.importImage(tar as unknown as NodeJS.ReadableStream, options)) as Readable;
  for await (const chunk of stream) {
    const said = String(chunk);
    if (said.includes('"error"'))
      throw new AutogitError('executor-failed', `the engine takes no image of this machine's git: ${said.trim()}`);
  }
  for (const { Id } of old)
    await docker
      .getImage(Id)
      .remove()
      .catch(() => undefined);
  return `${name}:${tag}`;
}

/** Those of its job, as what git reads there is the job's own; but git has more to hold than a small script. */
export const gitLimits = ({ cpuMillis, memoryBytes }: Pick<ExecutorSpec, 'cpuMillis' | 'memoryBytes'>): HostConfig =>
  jobLimits({ cpuMillis, memoryBytes: memoryBytes === null ? null : Math.max(memoryBytes, leastGitBytes) });

/** A root that jobs are may do with its tree what a job's root may: what other users of its container left there, too. */
export const gitSandbox = (
  image: string,
  volume: string,
  { uid, gid }: { uid: number; gid: number },
  limits: HostConfig,
): ContainerCreateOptions => ({
  Image: image,
  Entrypoint: ['/bin/sh'],
  User: `${uid}:${gid}`,
  WorkingDir: treeFolder,
  AttachStdin: true,
  AttachStdout: true,
  AttachStderr: true,
  OpenStdin: true,
  StdinOnce: true,
  HostConfig: {
    ...limits,
    CapDrop: ['ALL'],
    ...(uid === 0 && { CapAdd: ['DAC_OVERRIDE', 'FOWNER', 'CHOWN'] }),
    SecurityOpt: ['no-new-privileges'],
    NetworkMode: 'none',
    ReadonlyRootfs: true,
    OomScoreAdj: 500,
    Mounts: [volumeAt(volume, treeFolder)],
    LogConfig: { Type: 'none', Config: {} },
  },
});
