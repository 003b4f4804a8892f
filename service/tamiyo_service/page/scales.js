// From values to places: ranges, round ticks, and what is next to an epoch.

/** Lowest and highest of what lies between two epochs, with a little room. */
export function extent(lines, first, last) {
  let low = Infinity;
  let high = -Infinity;
  for (const { epochs, values } of lines) {
    for (let index = 0; index < epochs.length; index += 1) {
      if (epochs[index] >= first && epochs[index] <= last) {
        low = Math.min(low, values[index]);
        high = Math.max(high, values[index]);
      }
    }
  }
  if (low > high) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  return [low - room, high + room];
}

/** Round values between two, about so many. */
export function ticks(low, high, wanted, onlyWhole = false) {
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const factor = [1, 2, 5, 10].find((one) => one * power >= raw) || 10;
  const step = onlyWhole ? Math.max(1, Math.round(factor * power)) : factor * power;
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) {
    found.push({ value, text: decimals > 6 ? value.toExponential(1) : Number(value.toFixed(decimals)).toLocaleString("en") });
  }
  return found;
}

/** The measurement at an epoch or the one before it; undefined: there is none. */
export function valueAt(line, epoch) {
  if (!line) return undefined;
  let low = 0;
  let high = line.epochs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (line.epochs[middle] <= epoch) low = middle + 1;
    else high = middle;
  }
  return low ? line.values[low - 1] : undefined;
}
