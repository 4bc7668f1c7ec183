import { describe, expect, it } from 'vitest';
import { evaluate } from '../../gitlab-bridge/practice/ci/expression.ts';

const variables = { BRANCH: 'main', EMPTY: '', TAG: undefined, PATTERN: '/^ma/', FEATURE: 'feature/x', ZERO: '0' };
const value = (text: string): boolean | string => {
  const result = evaluate(text, variables);
  return result.ok ? result.value : result.because;
};

describe('the language of rules: if', () => {
  it.each([
    ['$BRANCH == "main"', true],
    ["$BRANCH == 'main'", true],
    ['$BRANCH != "main"', false],
    ['"main" == $BRANCH', true],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the expression language of GitLab is the subject
    ['${BRANCH} == "main"', true],
    ['$BRANCH', true],
    ['$ZERO', true],
    ['$EMPTY', false],
    ['$TAG', false],
    ['$TAG == null', true],
    ['$EMPTY == null', false],
    ['$EMPTY == ""', true],
    ['$BRANCH =~ /^ma/', true],
    ['$BRANCH =~ /^MA/', false],
    ['$BRANCH =~ /^MA/i', true],
    ['$BRANCH !~ /^ma/', false],
    ['$TAG =~ /x/', false],
    ['$TAG !~ /x/', true],
    ['$BRANCH =~ $PATTERN', true],
    ['$FEATURE =~ /^feature\\/.*$/', true],
    ['$BRANCH == "main" && $TAG', false],
    ['$TAG && $TAG || $BRANCH', true],
    ['$BRANCH || $TAG && $TAG', true],
    ['($BRANCH || $TAG) && $TAG', false],
    ['(($BRANCH))', true],
  ])('%s is %s', (text, expected) => {
    expect(value(text)).toBe(expected);
  });

  it.each([
    ['', 'empty'],
    ['$A ==', 'a value is missing'],
    ['$A $B', 'an operator is missing'],
    ['($A', 'not closed'],
    ['$A === "x"', 'unexpected'],
    ['$BRANCH =~ "x"', 'no pattern'],
    ['$BRANCH =~ /(/', 'invalid regular expression'],
    ['&& $A', 'a value is missing'],
  ])('%s is refused with the reason', (text, because) => {
    expect(value(text)).toContain(because);
  });
});
