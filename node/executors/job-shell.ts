import { posix } from 'node:path';
import { isForShell } from '../../gitlab-bridge/variables.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { ExecutorSpec, Step } from '../ports.ts';

/**
 * The shell texts that both executors put before a job's own lines. Variables travel in a file that the step reads, so
 * no value is ever in an argument list; the file is private to the job's user.
 */

export interface JobPaths {
  /** CI_BUILDS_DIR, absolute. */
  buildsDir: string;
  /** CI_PROJECT_DIR, absolute. */
  projectDir: string;
  /** Where variables of type file lie, beside the tree as GitLab has it. */
  filesDir: string;
}

const segment = /^[A-Za-z0-9_.-]{1,100}$/;

/**
 * The tree lies where GitLab users expect it: builds/<group>/<project>; odd or missing paths become builds/project. A job may
 * say another place below CI_BUILDS_DIR. Throws `bad-config` for one that is not there.
 */
export function jobPaths(spec: ExecutorSpec, buildsDir: string): JobPaths {
  const asked = spec.clonePathAt?.(buildsDir) ?? null;
  if (asked !== null) {
    const below = posix.relative(buildsDir, posix.normalize(asked));
    const isBelow = asked.startsWith('/') && asked.split('/').every((part) => part !== '..') && /^[^./]/.test(below);
    if (!isBelow || below.length > 500 || !/^[\w.+@-]+(?:\/[\w.+@-]+){0,20}$/.test(below))
      throw new AutogitError('bad-config', `GIT_CLONE_PATH is no path below CI_BUILDS_DIR: ${asked.slice(0, 200)}`, {
        hint: 'write GIT_CLONE_PATH: $CI_BUILDS_DIR/NAME, with letters, digits and -_.+@ in each name',
      });
    const projectDir = `${buildsDir}/${below.replace(/\/+$/, '')}`;
    return { buildsDir, projectDir, filesDir: `${projectDir}.tmp` };
  }
  const wanted = spec.variables.find((variable) => variable.key === 'CI_PROJECT_PATH')?.value ?? '';
  const segments = wanted.split('/');
  const sane = segments.length <= 20 && segments.every((part) => segment.test(part) && !/^\.+$/.test(part));
  const projectDir = `${buildsDir}/${sane ? wanted : 'project'}`;
  return { buildsDir, projectDir, filesDir: `${projectDir}.tmp` };
}

/** One word of POSIX shell, whatever is in it. NUL cannot be in a variable: it is dropped. */
export const quote = (value: string): string => `'${value.replaceAll('\0', '').replaceAll("'", `'\\''`)}'`;

export interface JobEnvironment {
  /** The text that steps read before their own lines. */
  script: string;
  /** Variables of type file: name below filesDir, and content. */
  files: { name: string; content: string }[];
  /** Keys that no shell can hold; the caller says so. */
  skipped: string[];
}

export function jobEnvironment(spec: ExecutorSpec, paths: JobPaths): JobEnvironment {
  const lines: string[] = [];
  const files = new Map<string, string>();
  const skipped: string[] = [];
  for (const { key, value, file } of spec.variablesAt?.(paths) ?? spec.variables) {
    if (!isForShell(key)) {
      skipped.push(key);
      continue;
    }
    if (file) files.set(key, value);
    else files.delete(key);
    lines.push(`export ${key}=${quote(file ? `${paths.filesDir}/${key}` : value)}`);
  }
  lines.push(`export CI_BUILDS_DIR=${quote(paths.buildsDir)}`, `export CI_PROJECT_DIR=${quote(paths.projectDir)}`, '');
  return {
    script: lines.join('\n'),
    files: [...files].map(([file, content]) => ({ name: file, content })),
    skipped,
  };
}

/** A step as a file for sh or bash: stops at the first failing line, in a pipe too where the shell can. */
export function stepScript(step: Step, paths: JobPaths, environmentPath: string): string {
  return [
    `. ${quote(environmentPath)}`,
    `cd ${quote(paths.projectDir)} || exit 1`,
    'if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi',
    'set -e',
    ...step.script,
    '',
  ].join('\n');
}

/** A path that a job named, relative to projectDir or absolute, as an absolute one. Throws on `..`. */
export function pathInside(projectDir: string, path: string): string {
  if (path.includes('\0') || path.split('/').includes('..'))
    throw new AutogitError('executor-failed', `the path ${path} leaves the job's tree`);
  return posix.resolve(projectDir, path);
}
