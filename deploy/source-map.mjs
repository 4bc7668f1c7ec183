// The source map that is shipped: what esbuild made, less what no reader of a fault needs. Of other people's packages one segment a
// stretch stays, which says whose code it is; that leaves a quarter of the size.
const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const valueOfDigit = new Map([...digits].map((digit, value) => [digit, value]));

/** Base64 VLQ, as the source map's format has it: five bits a digit, the lowest first, the sign in the first one. */
function decode(segment) {
  const numbers = [];
  let shift = 0;
  let sum = 0;
  for (const digit of segment) {
    const value = valueOfDigit.get(digit);
    sum += (value & 31) << shift;
    shift += 5;
    if (value & 32) continue;
    numbers.push(sum & 1 ? -(sum >>> 1) : sum >>> 1);
    shift = 0;
    sum = 0;
  }
  return numbers;
}

const encode = (numbers) =>
  numbers
    .map((number) => {
      let rest = number < 0 ? (-number << 1) | 1 : number << 1;
      let text = '';
      do {
        text += digits[(rest & 31) | (rest > 31 ? 32 : 0)];
        rest >>>= 5;
      } while (rest > 0);
      return text;
    })
    .join('');

/** `map` without details of the sources that `isForeign` names; paths are those of the repository. */
export function trimmedMap(map, isForeign) {
  const sources = map.sources.map((source) => source.replace(/^.*?(?=node_modules\/)|^(?:\.\.\/)+/, ''));
  const names = [];
  const nameAt = new Map();
  const now = [0, 0, 0, 0, 0];
  const last = [0, 0, 0, 0, 0];
  let before = -1;
  const delta = (index, value) => {
    const difference = value - last[index];
    last[index] = value;
    return difference;
  };
  const rename = (index) => {
    if (!nameAt.has(index)) nameAt.set(index, names.push(map.names[index]) - 1);
    return nameAt.get(index);
  };
  const segment = (text) => {
    const numbers = decode(text);
    for (const [index, number] of numbers.entries()) now[index] += number;
    const foreign = isForeign(sources[now[1]]);
    if (foreign && before === now[1]) return [];
    before = now[1];
    const place = foreign ? [now[0], now[1], 0, 0] : now.slice(0, 4);
    if (!foreign && numbers.length === 5) place.push(rename(now[4]));
    return [encode(place.map((value, index) => delta(index, value)))];
  };
  const lines = map.mappings.split(';').map((line) => {
    now[0] = 0;
    last[0] = 0;
    return line === '' ? '' : line.split(',').flatMap(segment).join(',');
  });
  return { version: 3, sources, names, mappings: lines.join(';') };
}
