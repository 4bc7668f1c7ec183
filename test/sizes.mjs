/** Lines. What is larger does more than one thing. */
export const limits = { file: 400, class: 300, function: 70 };

/** The classes of a file and how long each is, by their braces' indentation, as the formatter leaves it. */
export function classSizes(text) {
  const lines = text.split('\n');
  return lines.flatMap((line, index) => {
    const name = /^(?:export )?(?:abstract )?class (\w+)/.exec(line)?.[1];
    const end = lines.findIndex((other, at) => at > index && other === '}');
    if (name === undefined) return [];
    return [{ name, lines: line.endsWith('{}') ? 1 : end - index }];
  });
}
