import type { SubmoduleSpec } from './submodule-plan.ts';

/** What a job wants of its repository. */
export interface SourcesSpec {
  /** GitLab's address as this machine reaches it; scheme and host of the repository's own are replaced by it. */
  gitlabUrl: string;
  repoUrl: string;
  token: string;
  sha: string;
  ref: string;
  refspecs: string[];
  /** 0 = whole history. */
  depth: number;
  /** Which tags the tree gets: those on its commits, all, or none. */
  tags?: 'follow' | 'all' | 'none';
  /** Without: history alone, no files (GIT_CHECKOUT: "false"). */
  isCheckedOut?: boolean;
  /** The files that it has in Git LFS are brought. */
  lfs?: boolean;
  /** Left out: none are brought. */
  submodules?: SubmoduleSpec | undefined;
  /** ms that git may work in a tree which jobs had before; then a new one is made. */
  treeLimitMs?: number;
}
