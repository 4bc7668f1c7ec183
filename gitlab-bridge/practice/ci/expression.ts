import { type Pattern, pattern } from './re2.ts';

/**
 * The language of `rules: if`: `$NAME`, strings, null, /patterns/, == != =~ !~, && before ||, parentheses. Written as a
 * small recursive-descent reader; `&&` binds tighter than `||`, as in GitLab.
 */
type Token =
  | { kind: 'variable'; name: string }
  | { kind: 'string'; text: string }
  | { kind: 'pattern'; source: string; flags: string }
  | { kind: 'null' }
  | { kind: 'operator'; text: string };

type Value = string | null | Pattern | boolean;

type ExpressionResult = { ok: true; value: boolean } | { ok: false; because: string };

class ExpressionError extends Error {}

const lexemes: [RegExp, (found: RegExpExecArray) => Token | null][] = [
  [/\s+/y, () => null],
  [/\$([A-Za-z_]\w*)/y, (found) => ({ kind: 'variable', name: found[1] as string })],
  [/\$\{([A-Za-z_]\w*)\}/y, (found) => ({ kind: 'variable', name: found[1] as string })],
  [/"([^"]*)"/y, (found) => ({ kind: 'string', text: found[1] as string })],
  [/'([^']*)'/y, (found) => ({ kind: 'string', text: found[1] as string })],
  [
    /\/((?:[^\\/]|\\.)+)\/([ismU]*)/y,
    (found) => ({ kind: 'pattern', source: found[1] as string, flags: found[2] as string }),
  ],
  [/null\b/y, () => ({ kind: 'null' })],
  [/==|!=|=~|!~|&&|\|\||\(|\)/y, (found) => ({ kind: 'operator', text: found[0] })],
];

const tokens = (text: string): Token[] => {
  const found: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const start = at;
    for (const [pattern, make] of lexemes) {
      pattern.lastIndex = at;
      const match = pattern.exec(text);
      if (match === null) continue;
      const token = make(match);
      if (token !== null) found.push(token);
      at = pattern.lastIndex;
      break;
    }
    if (at === start) throw new ExpressionError(`unexpected ${JSON.stringify(text.slice(at, at + 10))}`);
  }
  return found;
};

const regex = (source: string, flags: string): Pattern => {
  const found = pattern(source, flags);
  if (found === null) throw new ExpressionError('invalid regular expression (GitLab runs them by RE2)');
  return found;
};

const asPattern = (value: Value): Pattern => {
  if (typeof value === 'object' && value !== null) return value;
  const written = typeof value === 'string' ? /^\/(.+)\/([ismU]*)$/s.exec(value) : null;
  if (written === null) throw new ExpressionError('the right side of =~ is no pattern');
  return regex(written[1] as string, written[2] as string);
};

const truthy = (value: Value): boolean => (typeof value === 'boolean' ? value : value !== null && value !== '');

const compare = (operator: string, left: Value, right: Value): boolean => {
  if (operator === '==') return left === right;
  if (operator === '!=') return left !== right;
  // A variable that is not there is an empty text to the left, and as a pattern nothing fits it.
  const matches = right !== null && asPattern(right).matches((typeof left === 'string' ? left : '').slice(0, 4096));
  return operator === '=~' ? matches : !matches;
};

class Reader {
  private at = 0;
  private readonly list: Token[];
  private readonly variables: Record<string, string | undefined>;
  constructor(list: Token[], variables: Record<string, string | undefined>) {
    this.list = list;
    this.variables = variables;
  }

  whole(): boolean {
    if (this.list.length === 0) throw new ExpressionError('it is empty');
    const value = this.either();
    if (this.at < this.list.length) throw new ExpressionError('an operator is missing');
    return truthy(value);
  }

  private next(...operators: string[]): string | null {
    const token = this.list[this.at];
    if (token?.kind !== 'operator' || !operators.includes(token.text)) return null;
    this.at += 1;
    return token.text;
  }

  private either(): Value {
    let left = this.both();
    while (this.next('||') !== null) {
      const right = this.both();
      left = truthy(left) || truthy(right);
    }
    return left;
  }

  private both(): Value {
    let left = this.comparison();
    while (this.next('&&') !== null) {
      const right = this.comparison();
      left = truthy(left) && truthy(right);
    }
    return left;
  }

  private comparison(): Value {
    const left = this.atom();
    const operator = this.next('==', '!=', '=~', '!~');
    return operator === null ? left : compare(operator, left, this.atom());
  }

  private atom(): Value {
    if (this.next('(') !== null) {
      const value = this.either();
      if (this.next(')') === null) throw new ExpressionError('a parenthesis is not closed');
      return value;
    }
    const token = this.list[this.at];
    if (token === undefined || token.kind === 'operator') throw new ExpressionError('a value is missing');
    this.at += 1;
    if (token.kind === 'variable')
      return Object.hasOwn(this.variables, token.name) ? (this.variables[token.name] ?? null) : null;
    if (token.kind === 'string') return token.text;
    if (token.kind === 'pattern') return regex(token.source, token.flags);
    return null;
  }
}

/** Says whether a `rules: if` holds with these variables; a malformed one is refused with the reason. */
export const evaluate = (text: string, variables: Record<string, string | undefined>): ExpressionResult => {
  try {
    if (text.length > 4096) throw new ExpressionError('it is longer than 4096 characters');
    return { ok: true, value: new Reader(tokens(text), variables).whole() };
  } catch (error) {
    if (error instanceof ExpressionError) return { ok: false, because: error.message };
    throw error;
  }
};
