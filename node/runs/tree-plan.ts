import { createHash } from 'node:crypto';
import { type JobPayload, variableOf } from '../../gitlab-bridge/payload.ts';

/** What a job wants of the tree that the last job of its project left here, by gitlab-runner's rules. Pure. */
interface TreeUse {
  strategy: 'clone' | 'fetch' | 'none' | 'empty';
  /** Arguments of `git clean`; null: nothing is removed. */
  cleanFlags: string[] | null;
  /** It asks for files that git does not track to be there again. */
  keepsFiles: boolean;
}

const usualFlags = ['-ffdx'];
const mostFlags = 100;

/** Null for a strategy that is none. */
export function treeUse(payload: JobPayload): TreeUse | null {
  const strategy = gitStrategy(payload);
  if (strategy !== 'clone' && strategy !== 'fetch' && strategy !== 'none' && strategy !== 'empty') return null;
  const words = (variableOf(payload, 'GIT_CLEAN_FLAGS') ?? '').split(/\s+/).filter((word) => word !== '');
  const cleanFlags = words.length === 0 ? usualFlags : words.length === 1 && words[0] === 'none' ? null : words;
  const keepsFiles = strategy === 'none' || (strategy === 'fetch' && !removesAll(cleanFlags));
  return { strategy, cleanFlags: cleanFlags?.slice(0, mostFlags) ?? null, keepsFiles };
}

/** Like a new tree: folders, ignored files and repositories in it, with no exception. */
function removesAll(flags: readonly string[] | null): boolean {
  if (flags === null || flags.some((flag) => !/^-[fdxq]+$/.test(flag))) return false;
  const letters = flags.join('');
  return letters.includes('d') && letters.includes('x') && letters.split('f').length > 2;
}

export function gitStrategy(payload: JobPayload): string {
  const asked = variableOf(payload, 'GIT_STRATEGY');
  return asked && asked !== '' ? asked : payload.allow_git_fetch === false ? 'clone' : 'fetch';
}

interface TreeOwner {
  /** GitLab's address and the project's number. */
  project: string;
  /** CI_CONCURRENT_PROJECT_ID: which of the project's jobs that run here at once. */
  slot: number;
  /** Of a protected branch or tag: what others left is not theirs, nor the other way round. */
  isProtected: boolean;
  /** Where it lies below CI_BUILDS_DIR: tools write that into what they build. */
  path: string;
}

/** The name of a tree: who shares it has the same. */
export const treeKey = ({ project, slot, isProtected, path }: TreeOwner): string =>
  createHash('sha256').update([project, slot, isProtected, path].join('\0')).digest('hex').slice(0, 20);
