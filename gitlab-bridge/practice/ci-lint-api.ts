import { z } from 'zod';
import { authenticate, changeable, projectOf } from './access.ts';
import { type Answer, type Call, ok, type Route, read, route } from './api-call.ts';
import { variable } from './ci/ci-variables.ts';
import { readFileAt, resolveRef } from './git-repository.ts';
import { planOf } from './pipeline-config.ts';
import { noSha } from './pipeline-creation.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Project, User } from './records.ts';
import { refuse } from './refusal.ts';

/** Says of a CI file whether it is valid and why not, without a pipeline; and forgets what runners cached. */
const lintBody = z.object({ content: z.string().max(1_048_576), ref: z.string().min(1).max(255).optional() });

const lint = async (
  context: PracticeContext,
  project: Project,
  user: User,
  ref: string | undefined,
  content: string | null,
): Promise<Answer> => {
  const folder = context.state.repositoryPath(project.id);
  const found = await resolveRef(folder, ref ?? project.defaultBranch);
  const text = content ?? (found === null ? null : await readFileAt(folder, found.sha, '.gitlab-ci.yml'));
  if (text === null) return ok({ valid: false, errors: ['Please provide content of .gitlab-ci.yml'], warnings: [] });
  const known = [
    variable('CI_PIPELINE_SOURCE', 'push'),
    variable('CI_COMMIT_BRANCH', found?.ref ?? project.defaultBranch),
    variable('CI_DEFAULT_BRANCH', project.defaultBranch),
  ];
  const result = await planOf(context, { project, user, sha: found?.sha ?? noSha, beforeSha: noSha }, text, known);
  const errors = result.kind === 'invalid' ? result.errors : [];
  return ok({ valid: errors.length === 0, errors, warnings: [] });
};

export const ciLintRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  const clear = (call: Call): Answer => {
    const named = { ...call, params: { id: `${call.params.namespace}/${call.params.path}` } };
    const project = changeable(state, named, authenticate(state, call));
    project.cacheIndex = (project.cacheIndex ?? 0) + 1;
    state.saveProject(project);
    return ok({ message: 'Project cache successfully reset.' });
  };
  return [
    route('POST', '/api/v4/projects/:id/ci/lint', (call) => {
      const caller = authenticate(state, call);
      const body = read(lintBody, call.body);
      return lint(context, projectOf(state, call, caller), caller.user, body.ref, body.content);
    }),
    route('GET', '/api/v4/projects/:id/ci/lint', (call) => {
      const caller = authenticate(state, call);
      const project = projectOf(state, call, caller);
      if (caller.job !== null) throw refuse(403);
      return lint(context, project, caller.user, call.query.get('content_ref') ?? undefined, null);
    }),
    // GitLab's button "Clear runner caches" posts here; nobody signs in to this one, so a token goes along.
    route('POST', '/:namespace/:path/-/settings/ci_cd/reset_cache', clear),
  ];
};
