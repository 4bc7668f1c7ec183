/** A rule was broken. `rule` is the name of the check; the sentence has the numbers. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly rule: string;

  constructor(rule: string, sentence: string) {
    super(`${rule}: ${sentence}`);
    this.rule = rule;
  }
}

export function require(holds: boolean, rule: string, sentence: () => string): asserts holds {
  if (!holds) throw new Violation(rule, sentence());
}
