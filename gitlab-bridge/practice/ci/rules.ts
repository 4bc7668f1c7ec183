import { expand } from './ci-variables.ts';
import { evaluate } from './expression.ts';
import { listed } from './job-plan.ts';
import type { JobConfig, RuleConfig } from './job-schema.ts';
import type { RuleOutcome } from './pipeline-plan.ts';

type RulesResult = { kind: 'in'; outcome: RuleOutcome } | { kind: 'out' } | { kind: 'wrong'; because: string };

/** The first rule that matches; null when none does. */
export const matchingRule = (
  rules: readonly RuleConfig[],
  known: Record<string, string>,
): { rule: RuleConfig | null } | { because: string } => {
  for (const rule of rules) {
    if (rule.if === undefined) return { rule };
    const result = evaluate(rule.if, known);
    if (!result.ok) return { because: `invalid expression syntax: ${result.because}` };
    if (result.value) return { rule };
  }
  return { rule: null };
};

/** Whether a job is in the pipeline, and how, by its `rules` (or its `when` where it has none). */
export const applyRules = (config: JobConfig, known: Record<string, string>): RulesResult => {
  const own = config.when ?? 'on_success';
  if (config.rules === undefined)
    return own === 'never'
      ? { kind: 'out' }
      : { kind: 'in', outcome: { when: own, allowFailure: null, variables: [] } };
  const jobValues = Object.fromEntries(listed(config.variables).map((entry) => [entry.key, entry.value]));
  const values: Record<string, string> = { ...known, ...jobValues };
  for (const [key, value] of Object.entries(jobValues)) values[key] = expand(value, values, [key]);
  const found = matchingRule(config.rules, values);
  if ('because' in found) return { kind: 'wrong', because: found.because };
  if (found.rule === null) return { kind: 'out' };
  const when = found.rule.when ?? own;
  if (when === 'never') return { kind: 'out' };
  return {
    kind: 'in',
    outcome: { when, allowFailure: found.rule.allow_failure ?? null, variables: listed(found.rule.variables) },
  };
};
