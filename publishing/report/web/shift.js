// Budget to shift: a proposal of the marts, shown and never applied.

function budgetShift() {
  return null;
}
