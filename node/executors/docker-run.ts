import { posix } from 'node:path';
import type Docker from 'dockerode';
import type { Clock } from '../clock.ts';
import type { KeeperVersion } from './docker-log.ts';
import type { DockerServices } from './docker-services.ts';
import type { DockerTree } from './docker-trees.ts';
import type { JobEnvironment, JobPaths } from './job-shell.ts';
import { type PackedFile, plainName } from './tar-names.ts';

/** What a container's workspace must know of its run. */
export interface DockerRun {
  docker: Docker;
  containerId: string;
  name: string;
  run: string;
  nonce: string;
  keeper: KeeperVersion;
  paths: JobPaths;
  /** Where step scripts, exit codes and the environment lie in the container. */
  controlDir: string;
  user: { uid: number; gid: number };
  /** Folders, environment and file variables: they travel with the first step's script. */
  firstFiles: PackedFile[];
  clock: Clock;
  /** What runs beside it; null: nothing. */
  services: DockerServices | null;
  /** What its tree lies in, where that stays for later jobs. */
  tree: DockerTree | null;
  /** As the container was made; for the sentence of a job that wanted more. */
  memoryBytes: number | null;
  /** It has a bridge of its own, without services on it. */
  hasBridge: boolean;
  /** As its labels have it. */
  node: string;
  onRemoved(): void;
  /** Called when the container could not be removed: it is tried again until it is gone. */
  onLeft(): void;
}

export const controlDir = (paths: JobPaths): string => `${paths.filesDir}/.autogit`;

/** Folders, environment and file variables. */
export function firstFiles(
  environment: JobEnvironment,
  paths: JobPaths,
  user: { uid: number; gid: number },
): PackedFile[] {
  const folders = [plainName(paths.filesDir), plainName(controlDir(paths))];
  for (let path = plainName(paths.projectDir); path !== '.'; path = posix.dirname(path)) folders.unshift(path);
  return [
    ...folders.map((name) => ({ name: `${name}/`, mode: 0o755, content: null, ...user })),
    { name: plainName(`${controlDir(paths)}/environment.sh`), mode: 0o600, content: environment.script, ...user },
    ...environment.files.map((file) => ({
      name: plainName(`${paths.filesDir}/${file.name}`),
      mode: 0o600,
      content: file.content,
      ...user,
    })),
  ];
}
