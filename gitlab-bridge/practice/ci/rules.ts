import { expand } from './ci-variables.ts';
import { evaluate } from './expression.ts';
import { anyMatches } from './globs.ts';
import { listed } from './job-plan.ts';
import type { JobConfig, RuleConfig } from './job-schema.ts';
import type { RuleOutcome } from './pipeline-plan.ts';
import { isLetIn } from './policy.ts';
import type { RepositoryView } from './repository-view.ts';

type RulesResult = { kind: 'in'; outcome: RuleOutcome } | { kind: 'out' } | { kind: 'wrong'; because: string };

class RuleError extends Error {}

const changesHold = (
  { paths, compare_to: since }: NonNullable<RuleConfig['changes']>,
  known: Record<string, string>,
  view: RepositoryView,
): boolean => {
  const changed = view.ask({ kind: 'changed', since: since === undefined ? null : expand(since, known) });
  if ('missing' in changed && changed.missing === 'ref')
    throw new RuleError('rules:changes:compare_to is not a valid ref');
  // Nothing to compare with, as for a new branch or a pipeline by hand: GitLab takes all for changed.
  const globs = paths.map((path) => expand(path, known));
  return !('paths' in changed) || anyMatches(globs, changed.paths);
};

const existsHold = (
  { paths, project, ref }: NonNullable<RuleConfig['exists']>,
  known: Record<string, string>,
  view: RepositoryView,
): boolean => {
  const [where, at] = [project, ref].map((one) => (one === undefined ? null : expand(one, known))) as (string | null)[];
  const all = view.ask({ kind: 'paths', project: where ?? null, ref: where === null ? null : (at ?? null) });
  if ('missing' in all && all.missing === 'ref')
    throw new RuleError(`rules:exists:ref \`${at}\` is not a valid ref in project \`${where}\``);
  if (!('paths' in all)) throw new RuleError(`rules:exists:project \`${where}\` is not a valid project path`);
  return anyMatches(
    paths.map((path) => expand(path, known)),
    all.paths,
  );
};

const ruleHolds = (rule: RuleConfig, known: Record<string, string>, view: RepositoryView): boolean => {
  if (rule.if !== undefined) {
    const result = evaluate(rule.if, known);
    if (!result.ok) throw new RuleError(`invalid expression syntax: ${result.because}`);
    if (!result.value) return false;
  }
  if (rule.changes !== undefined && !changesHold(rule.changes, known, view)) return false;
  return rule.exists === undefined || existsHold(rule.exists, known, view);
};

/** The first rule that matches; null when none does. */
export const matchingRule = (
  rules: readonly RuleConfig[],
  known: Record<string, string>,
  view: RepositoryView,
): { rule: RuleConfig | null } | { because: string } => {
  try {
    return { rule: rules.find((rule) => ruleHolds(rule, known, view)) ?? null };
  } catch (error) {
    if (error instanceof RuleError) return { because: error.message };
    throw error;
  }
};

/** Whether a job is in the pipeline, and how, by its `rules`, or by `only` and `except`, and its `when`. */
export const applyRules = (config: JobConfig, known: Record<string, string>, view: RepositoryView): RulesResult => {
  const own = config.when ?? 'on_success';
  const jobValues = Object.fromEntries(listed(config.variables).map((entry) => [entry.key, entry.value]));
  const values: Record<string, string> = { ...known, ...jobValues };
  for (const [key, value] of Object.entries(jobValues)) values[key] = expand(value, values, [key]);
  if (config.rules === undefined) {
    const isIn = isLetIn(config.only, config.except, values, view);
    if (typeof isIn === 'object') return { kind: 'wrong', because: isIn.because };
    return own === 'never' || !isIn
      ? { kind: 'out' }
      : { kind: 'in', outcome: { when: own, allowFailure: null, variables: [] } };
  }
  const found = matchingRule(config.rules, values, view);
  if ('because' in found) return { kind: 'wrong', because: found.because };
  if (found.rule === null) return { kind: 'out' };
  const when = found.rule.when ?? own;
  if (when === 'never') return { kind: 'out' };
  return {
    kind: 'in',
    outcome: { when, allowFailure: found.rule.allow_failure ?? null, variables: listed(found.rule.variables) },
  };
};
