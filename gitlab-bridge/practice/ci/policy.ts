import { z } from 'zod';
import { evaluate } from './expression.ts';
import { anyMatches } from './globs.ts';
import { writtenPattern } from './re2.ts';
import type { RepositoryView } from './repository-view.ts';

/** `only` and `except`: the older way to say when a job is in a pipeline. */
const strings = z.array(z.string().min(1)).max(1000);
export const policy = z.union(
  [
    strings.transform((refs) => ({ refs: refs as string[] | undefined, variables: undefined, changes: undefined })),
    z
      .strictObject({ refs: strings.optional(), variables: strings.optional(), changes: strings.optional() })
      .transform(({ refs, variables, changes }) => ({ refs, variables, changes })),
  ],
  'has to be either an array of conditions or a hash',
);
type Policy = z.infer<typeof policy>;

const singular: Record<string, string> = {
  pushes: 'push',
  schedules: 'schedule',
  triggers: 'trigger',
  pipelines: 'pipeline',
};

const refFits = (written: string, known: Record<string, string>): boolean => {
  const at = written.startsWith('/') ? written.indexOf('@', written.lastIndexOf('/')) : written.indexOf('@');
  const [name, path] = at === -1 ? [written, null] : [written.slice(0, at), written.slice(at + 1)];
  if (path !== null && path !== known.CI_PROJECT_PATH) return false;
  const source = known.CI_PIPELINE_SOURCE;
  const isTag = known.CI_COMMIT_TAG !== undefined;
  if (name === 'tags') return isTag;
  if (name === 'branches') return !isTag;
  if (name === source || singular[name] === source || name === `${source}s`) return true;
  const ref = known.CI_COMMIT_TAG ?? known.CI_COMMIT_BRANCH ?? '';
  return name.startsWith('/') ? (writtenPattern(name)?.matches(ref) ?? false) : name === ref;
};

class PolicyError extends Error {}

const holds = (one: Policy, known: Record<string, string>, view: RepositoryView): boolean[] => {
  const found: boolean[] = [];
  if (one.refs !== undefined) found.push(one.refs.some((ref) => refFits(ref, known)));
  if (one.variables !== undefined)
    found.push(
      one.variables.some((expression) => {
        const result = evaluate(expression, known);
        if (!result.ok) throw new PolicyError(`variables invalid expression syntax: ${result.because}`);
        return result.value;
      }),
    );
  if (one.changes !== undefined) {
    const changed = view.ask({ kind: 'changed', since: null });
    found.push(!('paths' in changed) || anyMatches(one.changes, changed.paths));
  }
  return found;
};

/** Whether a job with these is in the pipeline: all of `only` holds (branches and tags where it names no refs), and nothing of `except`. */
export const isLetIn = (
  only: Policy | undefined,
  except: Policy | undefined,
  known: Record<string, string>,
  view: RepositoryView,
): boolean | { because: string } => {
  try {
    const wanted = { variables: undefined, changes: undefined, ...only, refs: only?.refs ?? ['branches', 'tags'] };
    if (!holds(wanted, known, view).every(Boolean)) return false;
    return except === undefined || !holds(except, known, view).some(Boolean);
  } catch (error) {
    if (error instanceof PolicyError) return { because: error.message };
    throw error;
  }
};
