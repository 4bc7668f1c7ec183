import type { DeployCheck } from '../../protocol/asks.ts';
import { asSentence } from '../../protocol/ids.ts';

/** One thing that was looked at, as a member answers it and a person reads it. */
export const checkOf = (
  state: DeployCheck['state'],
  what: string,
  sentence: string,
  fix: string | null = null,
): DeployCheck => ({
  ...{ state, what },
  sentence: asSentence(sentence),
  fix: fix === null ? null : asSentence(fix),
});

/** What was found, as a member answers it. */
export const asChecks = (
  findings: readonly Pick<DeployCheck, 'state' | 'what' | 'sentence' | 'fix'>[],
): DeployCheck[] => findings.map(({ state, what, sentence, fix }) => checkOf(state, what, sentence, fix));

/** Of what the ledger refuses, a sentence with the command behind it: `this mesh hosts a GitLab already: autogit-node … first`. */
export function refusalCheck(refused: string): DeployCheck {
  const [sentence = '', fix = null] = refused.replace(/ first$/, '').split(/: (?=autogit-node)/);
  return { state: 'fail', what: 'mesh', sentence, fix };
}

/** The same to who wants another GitLab taken over: what the command behind it would end is said with it. */
export function adoptRefusal(refused: string): DeployCheck {
  const line = refusalCheck(refused);
  return line.fix?.endsWith('gitlab uninstall') === true
    ? { ...line, fix: `a mesh runs one GitLab; to end that one: ${line.fix}` }
    : line;
}
