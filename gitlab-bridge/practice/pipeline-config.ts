import { maySee } from './access.ts';
import type { CiVariable } from './ci/ci-variables.ts';
import type { PlanResult } from './ci/pipeline-plan.ts';
import { planPipeline } from './ci/pipeline-planner.ts';
import { type Known, RepositoryView, type Want } from './ci/repository-view.ts';
import { blobsAt, changedPaths, readFileAt, resolveRef } from './git-repository.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Project, User } from './records.ts';

/** Where a CI file is looked at: the commit, what was there before, and who asks (other projects are read with their rights). */
interface Occasion {
  project: Project;
  user: User;
  sha: string;
  /** Zeros: nothing to compare with. */
  beforeSha: string;
}

type Planned = Exclude<PlanResult, { kind: 'wants' }>;

const known = async (
  context: PracticeContext,
  { project, user, sha, beforeSha }: Occasion,
  want: Want,
): Promise<Known> => {
  const own = context.state.repositoryPath(project.id);
  if (want.kind === 'changed') {
    if (want.since !== null) {
      const found = await resolveRef(own, want.since);
      const from = found?.sha ?? (/^[0-9a-f]{7,64}$/.test(want.since) ? want.since : null);
      const paths = from === null ? null : await changedPaths(own, from, sha, true);
      return paths === null ? { missing: 'ref' } : { paths };
    }
    const paths = /^0+$/.test(beforeSha) ? null : await changedPaths(own, beforeSha, sha);
    return paths === null ? { missing: 'paths' } : { paths };
  }
  let [folder, at] = [own, sha];
  if (want.project !== null) {
    const other = context.state.projectByPath(want.project);
    if (other === undefined || !maySee({ user, scopes: ['api'], job: null }, other)) return { missing: 'project' };
    folder = context.state.repositoryPath(other.id);
    const found = await resolveRef(folder, want.ref ?? other.defaultBranch);
    if (found === null) return { missing: 'ref' };
    at = found.sha;
  }
  if (want.kind === 'paths') return { paths: [...(await blobsAt(folder, at)).keys()] };
  const text = await readFileAt(folder, at, want.path);
  return text === null ? { missing: 'file' } : { text };
};

/** Plans, and looks up in the repository what the plan turns out to hang on. Ends: no want is asked twice. */
export const planOf = async (
  context: PracticeContext,
  occasion: Occasion,
  text: string,
  variables: readonly CiVariable[],
): Promise<Planned> => {
  const view = new RepositoryView();
  for (;;) {
    const result = planPipeline(text, variables, view);
    if (result.kind !== 'wants') return result;
    view.tell(result.want, await known(context, occasion, result.want));
  }
};
