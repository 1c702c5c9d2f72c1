"""
Search a pipeline
=================

The extractor and the scorer are steps of a `Pipeline` whose parameters `GridSearchCV` searches.
`OneClassKFold` trains on normal images only and tests on both kinds; `auroc_scorer` makes sure of
the direction of the scores; `memory` keeps the features, so that each image goes through the
network once, however many candidates there are.
"""

from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skad import FeatureExtractor, KNNScorer, OneClassKFold, auroc_scorer

# %%
# Real images: handwritten digits, eights are normal
# --------------------------------------------------

digits, labels = load_digits(return_X_y=True)
X = np.concatenate([digits[labels == 8], digits[labels != 8][::10]])
y = np.repeat([1, -1], [(labels == 8).sum(), len(digits[labels != 8][::10])])

# %%
# Neighbours, metric and aggregation
# ----------------------------------

grid = {
    "scorer__n_neighbors": [1, 2, 5],
    "scorer__metric": ["cosine", "euclidean"],
    "scorer__aggregation": ["sum_of_squares", "mean"],
}
with TemporaryDirectory() as folder:
    pipeline = Pipeline(
        [("extractor", FeatureExtractor(memory=folder)), ("scorer", KNNScorer())], memory=folder
    )
    search = GridSearchCV(
        pipeline, grid, cv=OneClassKFold(3, shuffle=True, random_state=0), scoring=auroc_scorer
    )
    search.fit(X, y)

for index in np.argsort(search.cv_results_["rank_test_score"], kind="stable")[:3]:
    parameters = search.cv_results_["params"][index]
    print(f"{search.cv_results_['mean_test_score'][index]:.4f}  {parameters}")

# %%
# The search refits on all images, without those that are labelled anomalies
# --------------------------------------------------------------------------

best = search.best_estimator_
print(f"fitted on {len(best[-1].gallery_)} of {len(X)} images")
