"""Predicts house prices with a random forest: reads a CSV, reports metrics, writes a model and its predictions."""

import argparse
import csv
import json
import pickle

from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from starling_job import metric, output

arguments = argparse.ArgumentParser()
arguments.add_argument("--trees", type=int, default=100)
trees = arguments.parse_args().trees

with open("houses.csv", newline="") as file:
    rows = list(csv.DictReader(file))
features = [[float(row[name]) for name in ("area", "rooms", "age", "distance")] for row in rows]
prices = [float(row["price"]) for row in rows]
train_x, test_x, train_y, test_y = train_test_split(features, prices, test_size=0.25, random_state=0)

model = RandomForestRegressor(n_estimators=10, warm_start=True, random_state=0)
for count in range(10, trees + 1, 10):
    model.set_params(n_estimators=count)
    model.fit(train_x, train_y)
    metric("r2", r2_score(test_y, model.predict(test_x)), step=count)

predicted = model.predict(test_x)
score = r2_score(test_y, predicted)
print(f"{len(train_x)} houses to learn from, {len(test_x)} to test on: R2 {score:.4f}")
with open(output("result.json"), "w") as file:
    json.dump({"r2": score, "predicted": list(predicted)}, file)
with open(output("model.pkl"), "wb") as file:
    pickle.dump(model, file)
